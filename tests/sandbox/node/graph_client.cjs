// Uses Microsoft's Graph client for JavaScript as its documentation does, and prints what it saw.
// Arguments: the address of Graph, a token. NODE_PATH names the folder of the installed packages.
"use strict";

const {
  BatchRequestContent,
  BatchResponseContent,
  Client,
  PageIterator,
} = require("@microsoft/microsoft-graph-client");

const [base, token] = process.argv.slice(2);
const client = Client.init({
  baseUrl: base,
  defaultVersion: "v1.0",
  customHosts: new Set([new URL(base).hostname]),
  authProvider: (done) => done(null, token),
});
const IDENTITIES = "/deviceManagement/windowsAutopilotDeviceIdentities";
const MANAGED = "/deviceManagement/managedDevices";

async function main() {
  const seen = {};
  const pages = new PageIterator(client, await client.api(MANAGED).top(2).get(), (row) => {
    (seen.pages ??= []).push(row.serialNumber);
    return true;
  });
  await pages.iterate();

  const filtered = await client
    .api(MANAGED)
    .filter("operatingSystem eq 'Windows'")
    .select("id,serialnumber")
    .get();
  seen.filtered = filtered.value.map((row) => Object.keys(row).sort());

  const expanded = await client.api("/devices").expand("registeredOwners").get();
  seen.owners = expanded.value.map((row) => row.registeredOwners.length);

  try {
    await client.api(`/devices/${token.slice(0, 8)}`).get();
  } catch (error) {
    seen.error = [error.statusCode, error.code, Boolean(error.requestId)];
  }

  const [first] = (await client.api(IDENTITIES).get()).value;
  const absent = "00000000-0000-4000-8000-000000000000";
  // Without a version: 3.0.7 does not strip it (msgraph-sdk-javascript issue 1451, 2024-01).
  const inner = (path) => new Request(`https://graph.microsoft.com${path}`);
  const content = new BatchRequestContent([
    { id: "1", request: inner(`${MANAGED}/${absent}`) },
    { id: "2", request: inner("/organization"), dependsOn: ["1"] },
  ]);
  const batch = new BatchResponseContent(
    await client.api("/$batch").post(await content.getContent()),
  );
  seen.batch = [];
  for (const id of ["1", "2"]) {
    const answer = batch.getResponseById(id);
    seen.batch.push([id, answer.status, Boolean((await answer.json()).error)]);
  }

  await client.api(`${IDENTITIES}/${first.id}/updateDeviceProperties`).post({ groupTag: "JS" });
  const tagged = await client
    .api("/devices")
    .filter("physicalIds/any(p:p eq '[OrderId]:JS')")
    .get();
  seen.tagged = tagged.value.length;
  console.log(JSON.stringify(seen));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});

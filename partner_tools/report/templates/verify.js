"use strict";
// Checks a certificate: canonical JSON (RFC 8785), SHA-256, Ed25519 (RFC 8032). Uses the browser's
// own cryptography where it has it, and the arithmetic below where it has not.
(() => {
  const ALWAYS = ["autopilot", "device-association", "intune", "entra"];
  const words = JSON.parse(document.getElementById("words").content.textContent);
  const LOCKS = Object.keys(words.locks);
  const utf8 = (text) => new TextEncoder().encode(text);

  // --- RFC 8785: sorted names by UTF-16 units, numbers and strings as ECMAScript writes them.
  const canonical = (value) => {
    if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
    if (value === null || typeof value !== "object") return JSON.stringify(value);
    return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`).join(",")}}`;
  };

  // --- SHA-2 for browsers without Web Crypto. The constants are fractions of roots of primes.
  const primes = (count) => {
    const found = [];
    for (let at = 2; found.length < count; at += 1) if (found.every((one) => at % one)) found.push(at);
    return found.map(BigInt);
  };
  const root = (value, degree) => {
    let low = 0n, high = 1n << 80n;
    while (low < high) {
      const middle = (low + high + 1n) >> 1n;
      if (middle ** degree <= value) low = middle; else high = middle - 1n;
    }
    return low;
  };
  const fraction = (prime, degree) => root(prime << (64n * degree), degree) & 0xffffffffffffffffn;
  const sha2 = (content, bits) => {
    const wide = bits === 512, size = wide ? 64n : 32n, block = wide ? 128 : 64, rounds = wide ? 80 : 64;
    const mask = (1n << size) - 1n, cut = (value) => (wide ? value : value >> 32n);
    const turn = (value, by) => ((value >> by) | (value << (size - by))) & mask;
    const r = wide ? [1n, 8n, 7n, 19n, 61n, 6n, 28n, 34n, 39n, 14n, 18n, 41n] : [7n, 18n, 3n, 17n, 19n, 10n, 2n, 13n, 22n, 6n, 11n, 25n];
    const k = primes(rounds).map((prime) => cut(fraction(prime, 3n)));
    const state = primes(8).map((prime) => cut(fraction(prime, 2n)));
    const length = Math.ceil((content.length + 1 + block / 8) / block) * block;
    const padded = new Uint8Array(length);
    padded.set(content);
    padded[content.length] = 0x80;
    let left = BigInt(content.length) * 8n;
    for (let at = length - 1; left > 0n; at -= 1, left >>= 8n) padded[at] = Number(left & 255n);
    const step = Number(size / 8n);
    for (let from = 0; from < length; from += block) {
      const w = [];
      for (let at = 0; at < 16; at += 1) w.push(number(padded.subarray(from + at * step, from + (at + 1) * step)));
      for (let at = 16; at < rounds; at += 1) {
        const a = w[at - 15], b = w[at - 2];
        const s0 = turn(a, r[0]) ^ turn(a, r[1]) ^ (a >> r[2]), s1 = turn(b, r[3]) ^ turn(b, r[4]) ^ (b >> r[5]);
        w.push((w[at - 16] + s0 + w[at - 7] + s1) & mask);
      }
      let [a, b, c, d, e, f, g, h] = state;
      for (let at = 0; at < rounds; at += 1) {
        const s1 = turn(e, r[9]) ^ turn(e, r[10]) ^ turn(e, r[11]);
        const one = (h + s1 + ((e & f) ^ (~e & mask & g)) + k[at] + w[at]) & mask;
        const s0 = turn(a, r[6]) ^ turn(a, r[7]) ^ turn(a, r[8]);
        const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) & mask;
        [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) & mask, c, b, a, (one + two) & mask];
      }
      [a, b, c, d, e, f, g, h].forEach((value, at) => { state[at] = (state[at] + value) & mask; });
    }
    return bytesOf(state.reduce((all, one) => (all << size) | one, 0n), bits / 8);
  };
  const number = (bytes) => bytes.reduce((all, one) => (all << 8n) | BigInt(one), 0n);
  const bytesOf = (value, count) => Uint8Array.from({ length: count }, (_, at) => Number((value >> BigInt(8 * (count - 1 - at))) & 255n));

  // --- Ed25519 (RFC 8032, 5.1.7), cofactorless as OpenSSL has it.
  const P = (1n << 255n) - 19n, L = (1n << 252n) + 27742317777372353535851937790883648493n;
  const mod = (value) => ((value % P) + P) % P;
  const power = (base, exponent) => {
    let result = 1n, factor = mod(base);
    for (let left = exponent; left > 0n; left >>= 1n) { if (left & 1n) result = (result * factor) % P; factor = (factor * factor) % P; }
    return result;
  };
  const D = mod(-121665n * power(121666n, P - 2n));
  const add = ([x1, y1, z1, t1], [x2, y2, z2, t2]) => {
    const a = mod((y1 - x1) * (y2 - x2)), b = mod((y1 + x1) * (y2 + x2)), c = mod(2n * t1 * t2 * D), d = mod(2n * z1 * z2);
    const e = b - a, f = d - c, g = d + c, h = b + a;
    return [mod(e * f), mod(g * h), mod(f * g), mod(e * h)];
  };
  const times = (scalar, point) => {
    let result = [0n, 1n, 1n, 0n], factor = point;
    for (let left = scalar; left > 0n; left >>= 1n) { if (left & 1n) result = add(result, factor); factor = add(factor, factor); }
    return result;
  };
  const little = (bytes) => number(Uint8Array.from(bytes).reverse());
  const decode = (bytes) => {
    const value = little(bytes), y = value & ((1n << 255n) - 1n), odd = value >> 255n;
    if (y >= P) return null;
    const u = mod(y * y - 1n), v = mod(D * y * y + 1n);
    let x = mod(u * power(v, 3n) * power(u * power(v, 7n), (P - 5n) / 8n));
    if (mod(v * x * x) !== u) x = mod(x * power(2n, (P - 1n) / 4n));
    if (mod(v * x * x) !== u || (x === 0n && odd)) return null;
    if ((x & 1n) !== odd) x = mod(-x);
    return [x, y, 1n, mod(x * y)];
  };
  const BASE = decode(bytesOf(mod(4n * power(5n, P - 2n)), 32).reverse());
  const encode = ([x, y, z]) => {
    const inverse = power(z, P - 2n), flat = mod(y * inverse) | ((mod(x * inverse) & 1n) << 255n);
    return bytesOf(flat, 32).reverse();
  };
  const verifyHere = (key, signature, message) => {
    const a = decode(key), s = little(signature.subarray(32));
    if (a === null || s >= L) return false;
    const joined = new Uint8Array([...signature.subarray(0, 32), ...key, ...message]);
    const k = little(sha2(joined, 512)) % L;
    const [x, y, z, t] = times(k, a);
    const found = encode(add(times(s, BASE), [mod(-x), y, z, mod(-t)]));
    return found.every((one, at) => one === signature[at]);
  };

  const subtle = window.crypto && window.crypto.subtle;
  const sha256 = async (content) => (subtle ? new Uint8Array(await subtle.digest("SHA-256", content)) : sha2(content, 256));
  const verify = async (key, signature, message) => {
    if (subtle) {
      try {
        const imported = await subtle.importKey("raw", key, { name: "Ed25519" }, false, ["verify"]);
        return await subtle.verify({ name: "Ed25519" }, imported, signature, message);
      } catch (error) {
        if (error.name !== "NotSupportedError") return false;
      }
    }
    return verifyHere(key, signature, message);
  };

  const hex = (bytes) => [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
  const unpack = (text, size) => {
    if (typeof text !== "string" || !text.startsWith("ed25519:")) return null;
    try {
      const raw = atob(text.slice(8)), bytes = Uint8Array.from(raw, (one) => one.charCodeAt(0));
      return bytes.length === size && btoa(raw) === text.slice(8) ? bytes : null;
    } catch { return null; }
  };

  const isOpen = (lock) => (lock.status === "not-applicable" ? ALWAYS.includes(lock.lock) : lock.status !== "clear");
  const mayPass = (device) => device.obstacles.length === 0 && device.locks.length === LOCKS.length
    && LOCKS.every((name) => device.locks.filter((one) => one.lock === name).length === 1)
    && !device.locks.some(isOpen);

  const check = async (text) => {
    const parsed = JSON.parse(text);
    const { digest, signatures, ...content } = parsed;
    const findings = [], signers = [];
    if (!["release-certificate", "status-report"].includes(parsed.kind) || !Array.isArray(parsed.devices) || !Array.isArray(signatures)) throw new Error("this file is not a certificate");
    if (`sha256:${hex(await sha256(utf8(canonical(content))))}` !== digest) findings.push("The content is not what its digest says: it was changed.");
    for (const one of signatures) {
      const key = unpack(one.key, 32), signature = unpack(one.signature, 64);
      const statement = { purpose: "partner-tools release-certificate 1", digest, key: one.key, account: one.account, signedAt: one.signedAt };
      const valid = key !== null && signature !== null && (await verify(key, signature, utf8(canonical(statement))));
      if (valid) signers.push({ key: one.key, fingerprint: hex(await sha256(key)), at: one.signedAt });
    }
    if (signers.length === 0 || signers.length < signatures.length) findings.push("A signature is not one of this certificate.");
    if (parsed.devices.some((device) => device.released && !mayPass(device))) findings.push("A device is called released although a lock of it is open.");
    if (parsed.kind === "release-certificate" && !(parsed.devices.length && parsed.devices.every((device) => device.released))) findings.push("It is called a release certificate, and not every device in it is released.");
    return { parsed, findings, signers };
  };

  // --- What is shown. Everything of the file is text, never markup.
  const make = (name, content, className) => {
    const element = document.createElement(name);
    if (content !== undefined) element.textContent = content === null ? "" : String(content);
    if (className) element.className = className;
    return element;
  };
  const grouped = (text) => text.match(/.{1,4}/g).join(" ");
  const verdict = (good, title, text) => {
    const box = make("p", undefined, good ? "verdict yes" : "verdict");
    box.append(make("strong", title), text);
    return box;
  };
  const row = (list, term, value) => list.append(make("dt", term), make("dd", value));

  const show = ({ parsed, findings, signers }, known) => {
    const out = document.getElementById("result");
    out.replaceChildren();
    out.hidden = false;
    const wanted = known.trim();
    const plain = wanted.replace(/\s/g, "").toLowerCase().replace(/^sha256:/, "");
    const trusted = signers.some((one) => one.key === wanted || one.fingerprint === plain);
    if (findings.length) {
      out.append(verdict(false, "Do not trust this file.", findings.join(" ")));
    } else if (wanted && !trusted) {
      out.append(verdict(false, "Signed by another key.", "The signature is valid, but the key is not the one that you entered."));
    } else if (!wanted) {
      out.append(verdict(false, "Unchanged since it was signed. By whom, you have to check.", "Compare the fingerprint below with the one that the partner publishes, or enter it above."));
    } else {
      out.append(verdict(true, "Genuine: signed by the key that you entered, and unchanged.", ""));
    }
    const facts = make("dl");
    signers.forEach((one) => row(facts, "Fingerprint", grouped(one.fingerprint)));
    row(facts, "Digest", parsed.digest);
    row(facts, "Kind", parsed.kind === "release-certificate" ? "Release certificate" : "Status report: not released");
    row(facts, "Issued", `${parsed.issuedAt} by ${parsed.partner.name || "a partner that is not named"}`);
    row(facts, "Former owner", parsed.customer.name || parsed.customer.domain || parsed.customer.tenantId || "not named");
    out.append(facts);
    if (!findings.length) parsed.devices.forEach((device) => out.append(shownDevice(device, trusted)));
    if (!findings.length) {
      out.append(make("h2", "What was not checked"));
      const list = make("ul");
      parsed.notChecked.forEach((one) => list.append(make("li", one)));
      out.append(list);
    }
    out.dataset.state = findings.length ? "changed" : trusted ? "genuine" : wanted ? "other-key" : "unknown-signer";
    out.focus();
  };
  const shownDevice = (device, trusted) => {
    const section = make("section", undefined, "device");
    section.append(make("h2", `${device.serialNumber}: ${device.released ? "released" : "not released"}`));
    section.append(make("p", `${words.outcomes[device.removal.outcome] || device.removal.outcome}${device.removal.at ? `, ${device.removal.at}` : ""}.`, "soft"));
    if (device.released) section.append(make("p", trusted ? "It may be set up by a new owner." : "If the signer is who you think, it may be set up by a new owner."));
    const table = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
    ["Lock", "Result", "Checked", "By"].forEach((name) => head.append(make("th", name)));
    top.append(head);
    device.locks.forEach((one) => {
      const line = make("tr"), result = make("td");
      result.append(make("span", words.statuses[one.status] || one.status, isOpen(one) ? "open" : "clear"));
      if (one.basis) result.append(make("span", one.basis, "basis"));
      line.append(make("th", words.locks[one.lock] || one.lock), result, make("td", one.checkedAt || "not checked"), make("td", one.source ? words.sources[one.source] || one.source : ""));
      body.append(line);
    });
    table.append(top, body);
    section.append(table);
    device.obstacles.forEach((one) => section.append(make("p", one, "open")));
    return section;
  };

  let last = null;
  const file = document.getElementById("file"), known = document.getElementById("known");
  const refuse = (error) => {
    last = null;
    const out = document.getElementById("result");
    out.hidden = false;
    out.replaceChildren(verdict(false, "This file cannot be checked.", error instanceof SyntaxError ? "It is not JSON." : error.message));
    out.dataset.state = "unreadable";
  };
  file.addEventListener("click", () => { file.value = ""; }); // the same name may hold another file by now
  file.addEventListener("change", async () => {
    const chosen = file.files[0];
    if (!chosen) return;
    try {
      last = await check(await chosen.text());
      show(last, known.value);
    } catch (error) { refuse(error); }
  });
  known.addEventListener("change", () => { if (last) show(last, known.value); });
})();

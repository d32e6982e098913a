#requires -Version 5.1

<#
.SYNOPSIS
Carries out the open Intune and Windows Autopilot steps of one handoff, for exactly its devices.

.DESCRIPTION
Per device and in this order: delete it from Intune, unassign its user, delete its Windows Autopilot
registration. After the last device: sync once, then wait until every registration is gone. Then the
device association record of each device that is only pre-associated is deleted. A device that is
associated keeps its record, which shows that its firmware still has to be cleared.

Without -Apply nothing is changed: the script only checks, and shows what it would do.
With -Apply it asks before every change; -Confirm:$false answers all of these questions with yes.

A device is found by its ids in the handoff and by its serial number, compared exactly. If anything
is doubtful, the device is refused and left as it is. Microsoft Entra ID and Active Directory are
never changed; with the permission Device.Read.All the script checks at the end whether Microsoft
Entra ID still has the device. It can be stopped with Ctrl+C and started again at any time: it checks
first, and does not repeat a deletion.

The results are written to handoff-result-....json. Send that file to your partner: it contains no
keys or passwords.

Needs the module Microsoft.Graph.Authentication 2.19.0 or later, and an account with the role Intune
Administrator, or an app with the permissions that the script names.

.PARAMETER Apply
Carry out the steps. Without it nothing is changed.

.PARAMETER KeysSaved
Confirms that the BitLocker recovery keys and local administrator passwords are saved. Deleting a
device from Intune removes its key protectors, so -Apply needs this or a receipt.

.PARAMETER SaveKeys
Save the BitLocker recovery keys and local administrator passwords (Windows LAPS) that Microsoft
Entra ID stores for the listed devices, and write a receipt with counts for -KeysReceipt. Every key that
is read leaves an entry in the audit log. Keys in Active Directory are not read.

.PARAMETER KeysCertificate
Encrypt the saved keys to this document encryption certificate: a file, a thumbprint or a subject.
Without it they are written as plain text to a file that only you can read.

.PARAMETER KeysReceipt
The receipt of -SaveKeys. Each device's counts are compared with what the directory shows now.

.PARAMETER TenantId
The tenant in which the script may work. It refuses a session in any other tenant.

.PARAMETER UseDeviceCode
Sign in with a code in any browser, if the usual sign-in window fails.

.PARAMETER ResultPath
The folder for the files that are written. Default: the current folder.

.PARAMETER CheckActiveDirectory
Look up the computer objects in Active Directory, and record in the results whether they exist. Read
only. Needs the module ActiveDirectory.

.PARAMETER CheckConfigurationManager
Look up the records in Configuration Manager in the same way. Start the script from the site's drive.

.PARAMETER CheckFirmware
Only check whether the firmware of the device on which the script runs holds a device association, then
end. Read only, without a sign-in. Needs an elevated window and the module UEFI. Exit code 0: no
association; 7: an association; 1: not verified.

.PARAMETER WaitMinutes
Wait at most this many minutes for registrations to disappear.

.EXAMPLE
.\handoff.ps1
Shows what would be done with each device.

.EXAMPLE
.\handoff.ps1 -SaveKeys -KeysCertificate .\archive.cer
Saves the keys, encrypted, and writes a receipt.

.EXAMPLE
.\handoff.ps1 -Apply -KeysReceipt .\handoff-keys-receipt.json
Carries out the steps, asking before every change.

.EXAMPLE
.\handoff.ps1 -Apply -KeysSaved -Confirm:$false | Export-Csv -Path .\done.csv -NoTypeInformation
Carries them out without a question, and keeps the table.

.NOTES
Windows blocks a script that came by mail or from the web. After reading it:
    Unblock-File -Path .\handoff.ps1
If the execution policy still refuses it, allow scripts in this window only:
    Set-ExecutionPolicy -Scope Process -ExecutionPolicy RemoteSigned
Exit codes: 0 everything was done, or can be done; 7 something is left, was refused or is listed
twice; 1 nothing was started.
#>
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
    [switch] $Apply,
    [switch] $KeysSaved,
    [switch] $SaveKeys,
    [string] $KeysCertificate,
    [string] $KeysReceipt,
    [string] $TenantId = @@TENANT@@,
    [switch] $UseDeviceCode,
    [string] $ResultPath,
    [switch] $CheckActiveDirectory,
    [switch] $CheckConfigurationManager,
    [switch] $CheckFirmware,
    [ValidateRange(0, 1440)]
    [int] $WaitMinutes = 120
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

# The contents of the handoff. All external text is a literal.
$Handoff = @@HANDOFF@@
$HandoffName = @@NAME@@
$HandoffRun = @@RUN@@
$HandoffTime = @@GENERATED@@
$Answers = @@ANSWERS@@
$Version = @@VERSION@@
$LostOrStolen = @@LOST@@
$Reasons = @{
@@REASONS@@
}
$Devices = @(
@@DEVICES@@
)

$Self = $PSCmdlet
$Module = 'Microsoft.Graph.Authentication'
$OldestModule = [version] '2.19.0'
$ManagedDevices = 'v1.0/deviceManagement/managedDevices'
$Identities = 'v1.0/deviceManagement/windowsAutopilotDeviceIdentities'
# In no published metadata, read 2026-11: any unexpected answer counts as not verified.
$Associations = 'beta/deviceManagement/tenantAssociatedDevices'
$Directory = 'v1.0/devices'
$DirectoryScope = 'Device.Read.All'
$SyncUri = 'beta/deviceManagement/windowsAutopilotSettings/sync'
$KeysUri = 'v1.0/informationProtection/bitlocker/recoveryKeys'
$PasswordsUri = 'v1.0/directory/deviceLocalCredentials'
# Only beta says whether Intune manages the firmware.
$ManagedList = 'beta/deviceManagement/managedDevices'
$ManagedSelect = '$select=id,deviceName,serialNumber,azureADDeviceId,managementState,managementAgent,userPrincipalName,lastSyncDateTime,deviceFirmwareConfigurationInterfaceManaged'
$NoId = '00000000-0000-0000-0000-000000000000'
$Waiting = 'retirepending', 'retireissued', 'wipepending', 'wipeissued', 'deletepending'
$FewDevices = 20
$RetrySeconds = 2
$PollSeconds = 60
$Preview = -not $Apply -or $WhatIfPreference
$Silent = $PSBoundParameters.ContainsKey('Confirm') -and -not $PSBoundParameters['Confirm']
$Started = [datetime]::UtcNow
$Stamp = $Started.ToString('yyyyMMdd-HHmmss')
$Account = $null
$Changed = 0
$Denied = 0
$Stopped = ''
$Written = New-Object System.Collections.ArrayList
$Folder = $null
$ResultFile = $null

function Stop-Handoff {
    param([string] $Message)
    $Host.UI.WriteErrorLine($Message)
    exit 1
}

function Get-Value {
    param($Object, [string] $Name)
    if ($null -eq $Object) { return $null }
    $property = $Object.PSObject.Properties[$Name]
    if ($null -eq $property) { return $null }
    return $property.Value
}

function Get-Plain {
    # A text from a service, without anything that could act on a terminal.
    param($Text, [int] $Limit = 500)
    $plain = (([string] $Text) -replace '[\p{Cc}\p{Cf}\u2028\u2029]+', ' ').Trim()
    if ($plain.Length -gt $Limit) { $plain = $plain.Substring(0, $Limit) }
    return $plain
}

function Format-Time {
    param([datetime] $Moment = [datetime]::UtcNow)
    return $Moment.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss'Z'", [cultureinfo]::InvariantCulture)
}

function Format-Day {
    param($Moment)
    if ($Moment -is [datetime]) { $text = Format-Time -Moment $Moment } else { $text = [string] $Moment }
    if (-not $text -or $text.StartsWith('0001')) { return '' }
    return $text.Substring(0, [Math]::Min(10, $text.Length))
}

function Get-RealId {
    param($Id)
    $text = ([string] $Id).Trim().ToLowerInvariant()
    if ($text -eq $NoId) { return '' }
    return $text
}

function Get-Folded {
    param($Serial)
    # Without the differences that two spellings of the same serial number may have.
    return (([string] $Serial).Normalize([Text.NormalizationForm]::FormKC) -replace '[\s\p{Z}\p{C}]', '').ToUpperInvariant()
}

# --- Microsoft Graph --------------------------------------------------------------------------------

function Invoke-Graph {
    param([string] $Method, [string] $Uri, [hashtable] $Headers)
    $WhatIfPreference = $false
    $ConfirmPreference = 'None'
    if ($Headers) { return Invoke-MgGraphRequest -Method $Method -Uri $Uri -Headers $Headers }
    return Invoke-MgGraphRequest -Method $Method -Uri $Uri
}

function Get-Problem {
    # The error of a service: the exception has only the status, the rest is in ErrorDetails.
    param($Failure)
    $details = ''
    if ($null -ne $Failure.ErrorDetails) { $details = [string] $Failure.ErrorDetails.Message }
    $problem = @{ Status = 0; Code = ''; Message = ''; RequestId = ''; Approval = '' }
    $status = Get-Value -Object (Get-Value -Object $Failure.Exception -Name 'Response') -Name 'StatusCode'
    if ($null -ne $status) { $problem.Status = [int] $status }
    if ($details -match '(?im)^\s*request-id\s*:\s*([0-9A-Za-z-]{1,64})') { $problem.RequestId = $Matches[1] }
    if ($details -match '(?im)^\s*x-msft-approval-code\s*:\s*(\S{1,128})') { $problem.Approval = $Matches[1] }
    # Headers come first, and one of them has braces too.
    if ($details -match '(?s)\{\s*"error"\s*:.*') {
        try {
            $fault = Get-Value -Object (ConvertFrom-Json -InputObject $Matches[0]) -Name 'error'
            $problem.Code = Get-Plain -Text (Get-Value -Object $fault -Name 'code') -Limit 80
            $problem.Message = [string] (Get-Value -Object $fault -Name 'message')
            # Intune puts JSON into the message.
            if ($problem.Message.StartsWith('{')) {
                $problem.Message = [string] (Get-Value -Object (ConvertFrom-Json -InputObject $problem.Message) -Name 'Message')
            }
        }
        catch { $problem.Message = '' }
    }
    if ($details -match '(?i)x-msft-approval-(code|justification)' -and -not $problem.Approval) { $problem.Approval = 'asked for' }
    if (-not $problem.Message) { $problem.Message = $Failure.Exception.Message }
    $problem.Message = Get-Plain -Text $problem.Message
    return $problem
}

function Format-Problem {
    param([hashtable] $Problem)
    $text = $Problem.Message
    if ($Problem.Code) { $text = $Problem.Code + ': ' + $text }
    if ($Problem.Status) { $text = [string] $Problem.Status + ' ' + $text }
    if ($Problem.RequestId) { $text += ' (request id ' + $Problem.RequestId + ')' }
    return $text
}

function Get-Graph {
    # One read. After an internal error of the service it is retried up to three times; the module
    # retries 429, 503 and 504 itself.
    param([string] $Uri)
    for ($try = 1; ; $try++) {
        try { return Invoke-Graph -Method 'GET' -Uri $Uri }
        catch {
            if ($try -gt 3 -or (Get-Problem -Failure $_).Status -ne 500) { throw }
            Start-Sleep -Seconds ($RetrySeconds * $try)
        }
    }
}

function Get-OneOrNothing {
    param([string] $Uri)
    try { return Get-Graph -Uri $Uri }
    catch {
        if ((Get-Problem -Failure $_).Status -eq 404) { return $null }
        throw
    }
}

function Get-EveryPage {
    param([string] $Uri)
    $seen = @{}
    $next = $Uri
    while ($next) {
        if ($seen.ContainsKey($next)) { throw 'The service repeats a page, so the list cannot be read completely.' }
        $seen[$next] = $true
        $page = Get-Page -Uri $next
        foreach ($record in @($page['value'])) { if ($null -ne $record) { $record } }
        $next = [string] $page['@odata.nextLink']
    }
}

function Get-Page {
    # A list. An answer in any other form proves nothing, least of all that something is absent.
    param([string] $Uri)
    $page = Get-Graph -Uri $Uri
    if ($page -isnot [Collections.IDictionary] -or $page['value'] -isnot [Collections.IList]) { throw 'The service returned something other than a list.' }
    return $page
}

function New-Index {
    return New-Object System.Collections.Hashtable ([StringComparer]::Ordinal)
}

function Get-Encoded {
    param([string] $Filter)
    return '$filter=' + [uri]::EscapeDataString($Filter)
}

# --- Looking for the devices ------------------------------------------------------------------------

$Places = @{
    'intune'             = @{ Uri = $ManagedList; Query = $ManagedSelect; Record = $ManagedDevices; Known = 'ManagedIds'; Link = 'azureADDeviceId'; Error = ''; RequestId = ''; At = ''; Small = $false }
    'autopilot'          = @{ Uri = $Identities; Query = ''; Record = $Identities; Known = 'AutopilotIds'; Link = 'azureActiveDirectoryDeviceId'; Error = ''; RequestId = ''; At = ''; Small = $false }
    'device-association' = @{ Uri = $Associations; Query = ''; Record = $Associations; Known = 'AssociationIds'; Link = 'none'; Error = ''; RequestId = ''; At = ''; Small = $false }
}

function Clear-Place {
    param([hashtable] $Place)
    foreach ($name in 'ById', 'BySerial', 'ByFolded', 'ByDevice') { $Place[$name] = New-Index }
    $Place.Error = ''
    $Place.At = Format-Time
    $Place.Nameless = $false
}

function Add-Record {
    param([hashtable] $Place, $Record)
    $id = Get-RealId -Id $Record['id']
    if (-not $id -or $Place.ById.ContainsKey($id)) { return }
    $Place.ById[$id] = $Record
    $serial = ([string] $Record['serialNumber']).Trim()
    if (-not (Get-Folded -Serial $serial)) { $Place.Nameless = $true }
    $pairs = @(@('BySerial', $serial), @('ByFolded', (Get-Folded -Serial $serial)), @('ByDevice', (Get-RealId -Id $Record[$Place.Link])))
    foreach ($pair in $pairs) {
        if (-not $pair[1]) { continue }
        $index = $Place[$pair[0]]
        if (-not $index.ContainsKey($pair[1])) { $index[$pair[1]] = New-Object System.Collections.ArrayList }
        $null = $index[$pair[1]].Add($Record)
    }
}

function Join-Query {
    param([hashtable] $Place, [string] $Filter)
    $parts = @($Place.Query, $Filter) | Where-Object { $_ }
    if (-not $parts) { return $Place.Uri }
    return $Place.Uri + '?' + ($parts -join '&')
}

function Read-WholeList {
    param([hashtable] $Place)
    Clear-Place -Place $Place
    foreach ($record in Get-EveryPage -Uri (Join-Query -Place $Place)) { Add-Record -Place $Place -Record $record }
}

function Read-ByAsking {
    # For few devices in a large tenant. A filter that the service or the module corrupts returns too
    # much or nothing, without an error. So every query also asks for a record that has to come back,
    # and if a row does not match the filter, the whole list is read instead.
    param([hashtable] $Place, $Page, [object[]] $Sought)
    foreach ($record in @($Page['value'])) { Add-Record -Place $Place -Record $record }
    $known = @($Place.ById.Values | Where-Object { ([string] $_['serialNumber']) -cmatch '^[A-Za-z0-9]{4,64}$' })[0]
    if ($null -eq $known) { return $false }
    $asked = @($Sought | ForEach-Object { $_.Serial })
    $looks = New-Object System.Collections.ArrayList
    if ($Place.Record -eq $ManagedDevices) {
        for ($at = 0; $at -lt $asked.Count; $at += 10) {
            $chunk = @($known['serialNumber']) + @($asked[$at..([Math]::Min($at + 9, $asked.Count - 1))])
            $null = $looks.Add(@{ Texts = $chunk; Filter = (@($chunk | ForEach-Object { "serialNumber eq '" + $_ + "'" }) -join ' or ') })
        }
    }
    else {
        foreach ($text in @($known['serialNumber']) + $asked) { $null = $looks.Add(@{ Texts = @($text); Filter = "contains(serialNumber,'" + $text + "')" }) }
    }
    $proved = $false
    foreach ($look in $looks) {
        $rows = @(Get-EveryPage -Uri (Join-Query -Place $Place -Filter (Get-Encoded -Filter $look.Filter)))
        foreach ($row in $rows) {
            $folded = Get-Folded -Serial $row['serialNumber']
            $fits = @($look.Texts | Where-Object { if ($Place.Record -eq $ManagedDevices) { (Get-Folded -Serial $_) -ceq $folded } else { $folded.Contains((Get-Folded -Serial $_)) } })
            if ($fits.Count -eq 0) { return $false }
            Add-Record -Place $Place -Record $row
        }
        if ($look.Texts -contains $known['serialNumber']) {
            $proved = @($rows | Where-Object { $_['id'] -eq $known['id'] }).Count -gt 0
            if (-not $proved) { return $false }
        }
    }
    foreach ($device in $Sought) {
        foreach ($id in $device.($Place.Known)) {
            if ($Place.ById.ContainsKey($id)) { continue }
            $record = Get-OneOrNothing -Uri (Get-RecordUri -Place $Place -Id $id)
            if ($null -ne $record) { Add-Record -Place $Place -Record $record }
        }
    }
    return $proved
}

function Get-RecordUri {
    param([hashtable] $Place, [string] $Id)
    $uri = $Place.Uri + '/' + $Id
    if ($Place.Query) { $uri += '?' + $Place.Query }
    return $uri
}

function Read-Place {
    # The first page shows how large the tenant is. Serial numbers with anything but letters and
    # digits are never asked for: a hyphen is an error, and a blank finds nothing without one.
    param([hashtable] $Place, [object[]] $Sought)
    try {
        Clear-Place -Place $Place
        $page = Get-Page -Uri (Join-Query -Place $Place)
        $askable = @($Sought | Where-Object { $_.Serial -cnotmatch '^[A-Za-z0-9]{1,64}$' }).Count -eq 0
        if ($page['@odata.nextLink'] -and $askable -and $Sought.Count -lt $FewDevices) {
            try { if (Read-ByAsking -Place $Place -Page $page -Sought $Sought) { return } }
            catch { if ((Get-Problem -Failure $_).Status -notin 400, 404) { throw } }
            Read-WholeList -Place $Place
            return
        }
        $Place.Small = $true
        $seen = @{}
        while ($true) {
            foreach ($record in @($page['value'])) { if ($null -ne $record) { Add-Record -Place $Place -Record $record } }
            $next = [string] $page['@odata.nextLink']
            if (-not $next) { return }
            if ($seen.ContainsKey($next)) { throw 'The service repeats a page, so the list cannot be read completely.' }
            $seen[$next] = $true
            $page = Get-Page -Uri $next
        }
    }
    catch {
        $problem = Get-Problem -Failure $_
        $Place.Error = Format-Problem -Problem $problem
        $Place.RequestId = $problem.RequestId
    }
}

function Find-Record {
    # Every record of a device: by id, by exact serial number, by the Entra device id.
    param([hashtable] $Place, $Device, [string[]] $Ids, [string[]] $DeviceIds)
    $found = @{}
    foreach ($id in $Ids) { if ($id -and $Place.ById.ContainsKey($id)) { $found[$id] = $Place.ById[$id] } }
    $exact = @($Place.BySerial[$Device.Serial])
    # Intune drops blanks.
    if ($Place.Record -eq $ManagedDevices -and $Device.Serial -match '\s') { $exact += @($Place.BySerial[($Device.Serial -replace '\s', '')]) }
    foreach ($record in $exact) { if ($null -ne $record) { $found[(Get-RealId -Id $record['id'])] = $record } }
    foreach ($id in $DeviceIds) {
        if (-not $id) { continue }
        foreach ($record in @($Place.ByDevice[$id])) { if ($null -ne $record) { $found[(Get-RealId -Id $record['id'])] = $record } }
    }
    return @($found.Keys | Sort-Object | ForEach-Object { $found[$_] })
}

function Find-ByDeviceId {
    # A registration that serial numbers miss. The filter is in use and undocumented.
    param([string[]] $DeviceIds)
    foreach ($id in $DeviceIds) {
        try {
            foreach ($record in @(Get-EveryPage -Uri (Join-Query -Place $Places.autopilot -Filter (Get-Encoded -Filter ("azureActiveDirectoryDeviceId eq '" + $id + "'"))))) {
                if ((Get-RealId -Id $record['azureActiveDirectoryDeviceId']) -eq $id) { Add-Record -Place $Places.autopilot -Record $record }
            }
        }
        catch { if ((Get-Problem -Failure $_).Status -ne 400) { $Places.autopilot.Error = Format-Problem -Problem (Get-Problem -Failure $_) } }
    }
}

function Test-Other {
    param($Record, $Device)
    return ([string] $Record['serialNumber']).Trim() -cne $Device.Serial
}

function New-Result {
    param($Device)
    return @{
        Device = $Device; Rule = $Device.Rule; Detail = ''; RequestId = ''; Steps = New-Object System.Collections.ArrayList
        Intune = $null; Autopilot = $null; Association = $null; Planes = @{}; Name = $Device.Name; User = $Device.User; Seen = ''
        Unseen = @{ 'intune' = ''; 'autopilot' = ''; 'device-association' = '' }; IntuneWord = ''; AutopilotWord = ''; AssociationWord = ''; Moves = @(); Awaited = $false; Untaken = $false; Unfinished = $false; JoinType = ''; Keys = $null; DeviceIds = @($Device.DeviceIds)
    }
}

function Set-Plane {
    param([hashtable] $Result, [string] $Plane, [object[]] $Records)
    $place = $Places[$Plane]
    $unseen = $place.Error
    $near = @($place.ByFolded[(Get-Folded -Serial $Result.Device.Serial)])[0]
    if (-not $unseen -and $Records.Count -eq 0 -and $null -ne $near) {
        $unseen = 'a record is listed whose serial number ''' + (Get-Plain -Text $near['serialNumber']) + ''' differs only in letter case or blanks: compare them'
    }
    if (-not $unseen -and $Records.Count -eq 0 -and $Plane -eq 'device-association' -and $place.Nameless) { $unseen = 'a record without a serial number is listed, which may be this device''s' }
    if (-not $unseen -and $Records.Count -eq 0 -and -not $Result.Device.Serial) { $unseen = 'neither a serial number nor an id of the device is known' }
    $Result.Unseen[$Plane] = $unseen
    if ($unseen) {
        $Result.Planes[$Plane] = @{ result = 'failed'; observedAt = $place.At; detail = $unseen }
        return
    }
    $Result.Planes[$Plane] = @{ result = 'absent'; observedAt = $place.At }
    if ($Records.Count) { $Result.Planes[$Plane] = @{ result = 'found'; observedAt = $place.At; ids = @($Records | ForEach-Object { Get-RealId -Id $_['id'] }) } }
}

function Set-Refusal {
    param([hashtable] $Result, [string] $Rule, [string] $Detail)
    $Result.Rule = $Rule
    $Result.Detail = $Detail
    $Result.Moves = @()
    $Result.Awaited = $false
}

function Find-Device {
    # Looks up a device and decides what to do with it, by the same rules as cleanup of partner-tools.
    param($Device)
    $result = New-Result -Device $Device
    $identities = @(Find-Record -Place $Places.autopilot -Device $Device -Ids $Device.AutopilotIds)
    $linked = @($Device.ManagedIds) + @($identities | ForEach-Object { Get-RealId -Id $_['managedDeviceId'] })
    $managed = @(Find-Record -Place $Places.intune -Device $Device -Ids $linked)
    $result.DeviceIds = @(@($Device.DeviceIds) + @($managed | ForEach-Object { Get-RealId -Id $_['azureADDeviceId'] }) + @($identities | ForEach-Object { Get-RealId -Id $_['azureActiveDirectoryDeviceId'] }) | Where-Object { $_ } | Sort-Object -Unique)
    if ($identities.Count -eq 0 -and $Device.Serial -and -not $Places.autopilot.Small -and -not $Places.autopilot.Error) { Find-ByDeviceId -DeviceIds $result.DeviceIds }
    if ($identities.Count -eq 0) { $identities = @(Find-Record -Place $Places.autopilot -Device $Device -Ids @() -DeviceIds $result.DeviceIds) }
    $associated = @(Find-Record -Place $Places['device-association'] -Device $Device -Ids $Device.AssociationIds)
    Set-Plane -Result $result -Plane 'intune' -Records $managed
    Set-Plane -Result $result -Plane 'autopilot' -Records $identities
    Set-Plane -Result $result -Plane 'device-association' -Records $associated
    if ($managed.Count) {
        $result.Intune = $managed[0]
        if ($managed[0]['deviceName']) { $result.Name = Get-Plain -Text $managed[0]['deviceName'] }
        if ($managed[0]['userPrincipalName']) { $result.User = Get-Plain -Text $managed[0]['userPrincipalName'] }
        $result.Seen = Format-Day -Moment $managed[0]['lastSyncDateTime']
    }
    if ($identities.Count) {
        $result.Autopilot = $identities[0]
        if (-not $result.User) { $result.User = Get-Plain -Text $identities[0]['userPrincipalName'] }
    }
    if ($Device.Rule -and $Device.Rule -ne 'ambiguous') { return $result }
    $rule = Get-Refusal -Result $result -Managed $managed -Registered $identities -Associated $associated
    if ($rule) {
        $detail = ''
        if ($rule -eq 'intune-not-verified') { $detail = $result.Unseen.intune; $result.RequestId = $Places.intune.RequestId }
        Set-Refusal -Result $result -Rule $rule -Detail $detail
        return $result
    }
    $moves = New-Object System.Collections.ArrayList
    if ($null -ne $result.Intune) { $null = $moves.Add('delete-from-intune') }
    if ($null -ne $result.Autopilot -and -not $Device.PartnersTurn) {
        if ($Device.SettlesUntil -and [string]::CompareOrdinal((Format-Time), $Device.SettlesUntil) -le 0) { $result.Awaited = $true }
        else {
            if ($result.Autopilot['userPrincipalName']) { $null = $moves.Add('unassign-user') }
            $null = $moves.Add('deregister-from-autopilot')
        }
    }
    if (Test-PreAssociated -Records $associated -Device $Device) {
        $result.Association = $associated[0]
        $null = $moves.Add('delete-association-record')
    }
    elseif ($associated.Count) { $result.AssociationWord = 'left: ' + (Get-Plain -Text $associated[0]['associationState'] -Limit 40) }
    $result.Moves = @($moves)
    if ($result.Moves.Count -and $LostOrStolen -and $null -ne $result.Intune) { Set-Refusal -Result $result -Rule 'wipe-first' -Detail '' }
    return $result
}

function Test-PreAssociated {
    # Whether the tenant alone knows the association. Deleting the record of a device that is
    # associated would hide what its firmware still holds.
    param([object[]] $Records, $Device)
    return $Records.Count -eq 1 -and -not $Device.Bound -and -not (Test-Other -Record $Records[0] -Device $Device) -and ([string] $Records[0]['associationState']).Trim() -eq 'preassociated'
}

function Get-Refusal {
    param([hashtable] $Result, [object[]] $Managed, [object[]] $Registered, [object[]] $Associated)
    $device = $Result.Device
    $others = @(@($Managed) + @($Registered) | Where-Object { $null -ne $_ -and (Test-Other -Record $_ -Device $device) })
    if ($device.Rule -or $Managed.Count -gt 1 -or $Registered.Count -gt 1 -or $others.Count) { return 'ambiguous' }
    if ($Result.Unseen.intune) { return 'intune-not-verified' }
    $state = ''
    $agent = ''
    $firmware = $device.Firmware
    if ($null -ne $Result.Intune) {
        $state = ([string] $Result.Intune['managementState']).ToLowerInvariant()
        $agent = ([string] $Result.Intune['managementAgent']).ToLowerInvariant()
        if ($Result.Intune['deviceFirmwareConfigurationInterfaceManaged'] -eq $true) { $firmware = $true }
    }
    if ($firmware) { return 'firmware-managed' }
    if ($state -and $Waiting -contains $state) { return 'waiting-for-check-in' }
    if ($agent -eq 'configurationmanagerclient') { return 'configuration-manager' }
    foreach ($look in @(@{ Now = $Managed; Known = $device.ManagedIds; Gone = $device.ManagedGone }, @{ Now = $Registered; Known = $device.AutopilotIds; Gone = $device.AutopilotGone }, @{ Now = $Associated; Known = $device.AssociationIds; Gone = $device.AssociationGone })) {
        if ($look.Now.Count -eq 0) { continue }
        $ids = @($look.Now | ForEach-Object { Get-RealId -Id $_['id'] } | Sort-Object -Unique) -join ' '
        if ($look.Gone -or ($look.Known.Count -and $ids -cne (@($look.Known | Sort-Object -Unique) -join ' '))) { return 'changed-since-handoff' }
    }
    return ''
}

# --- Changing ---------------------------------------------------------------------------------------

$Titles = @{ 'delete-from-intune' = 'Delete from Intune'; 'unassign-user' = 'Unassign the user in Windows Autopilot'; 'deregister-from-autopilot' = 'Delete from Windows Autopilot'; 'delete-association-record' = 'Delete the device association record' }
$Missing = @{
    'delete-from-intune'        = 'the permission DeviceManagementManagedDevices.ReadWrite.All, and a role that may delete managed devices (Intune Administrator, or Endpoint Security Manager)'
    'unassign-user'             = 'the permission DeviceManagementServiceConfig.ReadWrite.All, and the role Intune Administrator'
    'deregister-from-autopilot' = 'the permission DeviceManagementServiceConfig.ReadWrite.All, and the role Intune Administrator'
    'delete-association-record' = 'the permission DeviceManagementServiceConfig.ReadWrite.All, and the role Intune Administrator'
}

function Get-Description {
    param([hashtable] $Result)
    $name = 'device without a name'
    if ($Result.Name) { $name = $Result.Name }
    $user = 'no user'
    if ($Result.User) { $user = 'user ' + $Result.User }
    $seen = 'never seen by Intune'
    if ($Result.Seen) { $seen = 'last seen ' + $Result.Seen }
    return $name + ', ' + $user + ', serial number ' + $Result.Device.Serial + ', ' + $seen
}

function Add-Step {
    param([hashtable] $Result, [string] $Id, [string] $Status, $Record)
    $step = @{ id = $Id; status = $Status; at = Format-Time }
    if ($null -ne $Record) { $step.record = Get-RealId -Id $Record['id'] }
    if ($Status -eq 'planned') { $step.Remove('at') }
    $null = $Result.Steps.Add($step)
}

function Test-Fresh {
    # The check right before a change: is the record still the one on which the decision was made?
    param([hashtable] $Result, [string] $Plane)
    $old = $Result.Intune
    if ($Plane -eq 'autopilot') { $old = $Result.Autopilot }
    if ($Plane -eq 'device-association') { $old = $Result.Association }
    $new = Get-OneOrNothing -Uri (Get-RecordUri -Place $Places[$Plane] -Id (Get-RealId -Id $old['id']))
    if ($null -eq $new) { return 'gone' }
    $same = -not (Test-Other -Record $new -Device $Result.Device)
    if ($Plane -eq 'intune') {
        if ($same -and $Waiting -contains ([string] $new['managementState']).ToLowerInvariant()) { return 'waiting-for-check-in' }
    }
    elseif ($Plane -eq 'device-association') { $same = $same -and (Test-PreAssociated -Records @($new) -Device $Result.Device) }
    else {
        $managed = Get-RealId -Id $new['managedDeviceId']
        # It has been enrolled since the check.
        if ($managed -and $managed -ne (Get-RealId -Id $old['managedDeviceId'])) { $same = $false }
    }
    if ($same) { return 'same' }
    return 'changed-since-handoff'
}

function Test-Gone {
    param([string] $Plane, $Record)
    try { return $null -eq (Get-OneOrNothing -Uri (Get-RecordUri -Place $Places[$Plane] -Id (Get-RealId -Id $Record['id']))) }
    catch { return $false }
}

function Set-Failure {
    param([hashtable] $Result, [string] $Step, [hashtable] $Problem)
    $Result.Detail = $Titles[$Step] + ': ' + (Format-Problem -Problem $Problem)
    $Result.RequestId = $Problem.RequestId
    if ($Problem.Status -eq 401 -or $Problem.Status -eq 403) { $Result.Detail += '. Missing: ' + $Missing[$Step] }
    if ($Problem.Approval) { $Result.Detail = 'Another administrator has to approve it in Intune (Tenant administration > Multi Admin Approval); then run the script again. ' + $Result.Detail }
}

function Invoke-Change {
    # One change of one record. 'done', 'declined', 'planned', 'failed' or 'untaken'.
    param([hashtable] $Result, [string] $Step, [string] $Plane, $Record, [string] $Method, [string] $Action)
    $what = Get-Description -Result $Result
    if (-not $Apply) { return 'planned' }
    if (-not $Self.ShouldProcess($Titles[$Step] + ': ' + $what, $Titles[$Step] + '? ' + $what, $Handoff)) {
        if ($WhatIfPreference) { return 'planned' }
        return 'declined'
    }
    $headers = @{}
    # If Intune requires a second administrator, this is the justification that they read.
    if ($Method -eq 'DELETE') { $headers['x-msft-approval-justification'] = [Convert]::ToBase64String([Text.Encoding]::UTF8.GetBytes($Handoff)) }
    try {
        $null = Invoke-Graph -Method $Method -Uri ($Places[$Plane].Record + '/' + (Get-RealId -Id $Record['id']) + $Action) -Headers $headers
    }
    catch {
        $problem = Get-Problem -Failure $_
        if ($problem.Status -eq 404) { return 'done' }
        Set-Failure -Result $Result -Step $Step -Problem $problem
        if ($problem.Approval) { return 'failed' }
        if ($problem.Status -eq 401 -or $problem.Status -eq 403) {
            $script:Denied++
            if ($script:Changed -eq 0) { $script:Stopped = 'The first change was refused, so nothing else was tried. ' + $Result.Detail }
            elseif ($script:Denied -ge 3) { $script:Stopped = 'Three changes in a row were refused, so the script stopped. ' + $Result.Detail }
            return 'failed'
        }
        $unclear = $problem.Status -eq 400 -or $problem.Status -eq 0 -or $problem.Status -eq 500
        if ($Method -ne 'DELETE' -or -not $unclear) { return 'failed' }
        if (Test-Gone -Plane $Plane -Record $Record) { $Result.Detail = ''; $Result.RequestId = '' }
        elseif ($problem.Status -eq 400) { return 'untaken' }
        else { return 'failed' }
    }
    $script:Changed++
    $script:Denied = 0
    return 'done'
}

function Invoke-Step {
    param([hashtable] $Result, [string] $Step)
    $plane = 'autopilot'
    $record = $Result.Autopilot
    $method = 'DELETE'
    $action = ''
    if ($Step -eq 'delete-from-intune') { $plane = 'intune'; $record = $Result.Intune }
    if ($Step -eq 'delete-association-record') { $plane = 'device-association'; $record = $Result.Association }
    if ($Step -eq 'unassign-user') { $method = 'POST'; $action = '/unassignUserFromDevice' }
    # The check before the user's unassignment also covers the deletion, which follows immediately.
    if (-not $Preview -and -not ($Step -eq 'deregister-from-autopilot' -and $Result.Moves -contains 'unassign-user')) {
        $fresh = Test-Fresh -Result $Result -Plane $plane
        if ($fresh -eq 'gone') {
            Set-Gone -Result $Result -Plane $plane
            return $true
        }
        if ($fresh -ne 'same') {
            Set-Refusal -Result $Result -Rule $fresh -Detail ''
            return $false
        }
    }
    $status = Invoke-Change -Result $Result -Step $Step -Plane $plane -Record $record -Method $method -Action $action
    if ($status -eq 'done' -and $Step -eq 'deregister-from-autopilot') { $Result.Awaited = $true }
    if ($status -eq 'untaken') {
        # The service rejected it as if it were already done: the check at the end decides.
        $Result.Untaken = $true
        $status = 'failed'
        if ($Step -eq 'deregister-from-autopilot') { $Result.Awaited = $true }
        else { Set-Refusal -Result $Result -Rule 'still-there' -Detail $Result.Detail }
    }
    Add-Step -Result $Result -Id $Step -Status $status -Record $record
    if ($Step -eq 'delete-from-intune' -and $status -eq 'done') { $Result.IntuneWord = 'deleted' }
    if ($Step -eq 'delete-association-record' -and $status -eq 'done') { $Result.AssociationWord = 'deleted' }
    if ($Step -eq 'deregister-from-autopilot' -and $Result.Awaited) { $Result.AutopilotWord = 'submitted' }
    return $status -eq 'done' -or $status -eq 'planned'
}

function Set-Gone {
    param([hashtable] $Result, [string] $Plane)
    $Result.Planes[$Plane] = @{ result = 'absent'; observedAt = Format-Time }
    if ($Plane -eq 'intune') { $Result.IntuneWord = 'not there'; return }
    if ($Plane -eq 'device-association') { $Result.AssociationWord = 'not there'; return }
    $Result.AutopilotWord = 'not there'
    $Result.Moves = @($Result.Moves | Where-Object { $_ -eq 'delete-association-record' })
}

function Get-Word {
    # The word in the table for a plane in which nothing was changed.
    param([hashtable] $Result, [string] $Plane, [string] $Word)
    if ($Word) { return $Word }
    $seen = $Result.Planes[$Plane]
    if ($null -eq $seen) { return '' }
    if ($seen.result -eq 'failed') { return 'not verified' }
    if ($seen.result -eq 'absent') { return 'not there' }
    if ($Result.Rule) { return 'left' }
    $failed = @($Result.Steps | Where-Object { $_.status -eq 'declined' -or $_.status -eq 'failed' })
    $deletion = @{ intune = 'delete-from-intune'; autopilot = 'deregister-from-autopilot' }[$Plane]
    if (@($Result.Steps | Where-Object { $_.id -eq $deletion -and $_.status -eq 'planned' }).Count) { return 'would be deleted' }
    if ($failed.Count) { return 'left: ' + $failed[0].status }
    if ($Plane -eq 'autopilot' -and $Result.Awaited) { return 'waiting' }
    return 'left'
}

function Invoke-Device {
    param([hashtable] $Result)
    if ($Result.Rule) { return }
    if ($Apply -and -not $WhatIfPreference -and $Result.Moves.Count) {
        $unsaved = Get-Unsaved -Result $Result
        if ($unsaved) { Set-Refusal -Result $Result -Rule 'keys-not-saved' -Detail $unsaved; return }
    }
    $steps = @($Result.Moves)
    # The association is deleted only after a check shows that everything else is gone.
    if (-not $Preview) { $steps = @($steps | Where-Object { $_ -ne 'delete-association-record' }) }
    Invoke-AllSteps -Result $Result -Steps $steps
    if ($Preview -or $Result.Moves -notcontains 'delete-association-record') { Set-LastRefusal -Result $Result }
}

function Invoke-AllSteps {
    param([hashtable] $Result, [string[]] $Steps)
    foreach ($step in $Steps) {
        if ($Result.Moves -notcontains $step) { continue }
        try {
            if (-not (Invoke-Step -Result $Result -Step $step)) { break }
        }
        catch {
            Set-Failure -Result $Result -Step $step -Problem (Get-Problem -Failure $_)
            Add-Step -Result $Result -Id $step -Status 'failed' -Record $null
            break
        }
        if ($Stopped) { break }
    }
}

function Complete-Association {
    # Finishes a device whose Intune record and registration are confirmed to be gone.
    param([hashtable] $Result)
    if ($Result.Rule -or $Result.Moves -notcontains 'delete-association-record') { return }
    if (-not $Result.Awaited -and @($Result.Steps | Where-Object { $_.status -ne 'done' }).Count -eq 0) { Invoke-AllSteps -Result $Result -Steps 'delete-association-record' }
    Set-LastRefusal -Result $Result
    Update-Written -Result $Result
}

function Update-Association {
    # A deletion counts as done once a check no longer shows the record; and a pending removal is
    # completed when the device checks in, which may have happened by now.
    param([object[]] $Results)
    if ($Results.Count -eq 0) { return }
    Read-Place -Place $Places['device-association'] -Sought @($Results | ForEach-Object { $_.Device })
    foreach ($result in $Results) {
        $records = @(Find-Record -Place $Places['device-association'] -Device $result.Device -Ids $result.Device.AssociationIds)
        Set-Plane -Result $result -Plane 'device-association' -Records $records
        if ($result.AssociationWord -eq 'deleted' -and $result.Planes['device-association'].result -ne 'absent') {
            foreach ($step in $result.Steps) { if ($step.id -eq 'delete-association-record') { $step.status = 'waiting' } }
            $result.AssociationWord = 'removal pending'
            if (Test-PreAssociated -Records $records -Device $result.Device) {
                $result.Unfinished = $true
                $result.Detail = 'its device association is still shown: run the script again later'
            }
        }
        Update-Written -Result $result
    }
}

function Set-LastRefusal {
    # The reason why something remains although the script can do nothing more.
    param([hashtable] $Result)
    if ($Result.Rule -or $Result.Awaited -or @($Result.Steps | Where-Object { $_.status -ne 'done' }).Count) { return }
    if ($Result.Device.PartnersTurn -and ($Result.Unseen.autopilot -or $null -ne $Result.Autopilot)) { Set-Refusal -Result $Result -Rule 'partners-turn' -Detail '' }
    elseif ($Result.Unseen.autopilot) {
        Set-Refusal -Result $Result -Rule 'autopilot-not-verified' -Detail $Result.Unseen.autopilot
        $Result.RequestId = $Places.autopilot.RequestId
    }
}

function Get-Outcome {
    param([hashtable] $Result)
    if ($Result.Rule -eq 'duplicate') { return 'duplicate' }
    if ($Result.Rule) { return 'refused' }
    # The script can do nothing more about the pending removal of an association.
    $open = @($Result.Steps | Where-Object { $_.status -ne 'done' -and -not ($_.status -eq 'waiting' -and $_.id -eq 'delete-association-record') })
    if ($Result.Awaited -or $Result.Unfinished -or $open.Count) { return 'left' }
    if ($Result.Moves -contains 'delete-association-record' -and -not $Result.AssociationWord) { return 'left' }
    return 'done'
}

function Show-Device {
    param([hashtable] $Result, [int] $Number)
    $text = '[' + $Number + '/' + $Devices.Count + '] ' + (Get-Description -Result $Result) + ': '
    if ($Result.Rule) { $text += 'refused: ' + (Get-Why -Result $Result) }
    else {
        $text += 'Intune ' + (Get-Word -Result $Result -Plane 'intune' -Word $Result.IntuneWord) + ', Autopilot ' + (Get-Word -Result $Result -Plane 'autopilot' -Word $Result.AutopilotWord)
        if ($Preview -and $Result.Moves -contains 'unassign-user') { $text += ' after its user is unassigned' }
        $association = Get-AssociationWord -Result $Result
        if ($association -and $association -ne 'not there') { $text += ', device association ' + $association }
        if ($Result.Detail) { $text += '. ' + $Result.Detail }
    }
    Write-Host $text
}

function Get-AssociationWord {
    param([hashtable] $Result)
    if ($Result.AssociationWord) { return $Result.AssociationWord }
    if ($Result.Moves -contains 'delete-association-record') {
        if ($Preview) { return 'would be deleted' }
        return 'to be deleted last'
    }
    return Get-Word -Result $Result -Plane 'device-association' -Word ''
}

function Get-Why {
    param([hashtable] $Result)
    $why = [string] $Reasons[$Result.Rule]
    if ($Result.Detail) { return $why + ' (' + $Result.Detail + ')' }
    return $why
}

# --- The results file -------------------------------------------------------------------------------

function Write-File {
    # Written under another name first, then moved: a file is complete or absent.
    param([string] $Path, [string] $Text)
    $temporary = $Path + '.tmp'
    [IO.File]::WriteAllText($temporary, $Text, (New-Object System.Text.UTF8Encoding ($false)))
    if ([IO.File]::Exists($Path)) { [IO.File]::Replace($temporary, $Path, [NullString]::Value) }
    else { [IO.File]::Move($temporary, $Path) }
}

function Get-ResultEntry {
    param([hashtable] $Result)
    $device = $Result.Device
    $entry = [ordered]@{ row = $device.Row; serialNumber = $null; outcome = (Get-Outcome -Result $Result) }
    if ($device.Serial) { $entry.serialNumber = $device.Serial }
    if ($Result.Rule -and $Result.Rule -ne 'duplicate') { $entry.rule = $Result.Rule }
    if ($Result.Detail) { $entry.detail = $Result.Detail }
    if ($Result.RequestId) { $entry.requestId = $Result.RequestId }
    $steps = @($Result.Steps)
    if ($Result.Awaited) {
        $steps = @($steps | ForEach-Object { if ($_.id -eq 'deregister-from-autopilot' -and $_.status -eq 'done') { $copy = $_.Clone(); $copy.status = 'waiting'; $copy } else { $_ } })
    }
    $entry.steps = $steps
    $entry.planes = $Result.Planes
    if ($Result.JoinType) { $entry.joinType = $Result.JoinType }
    if ($null -ne $Result.Keys) { $entry.keys = $Result.Keys }
    return ConvertTo-Json -InputObject $entry -Depth 8 -Compress
}

function Save-Results {
    # $Written has one JSON text per device, so that thousands need not be serialized again each time.
    param([bool] $Finished)
    if ($WhatIfPreference) { return }
    $head = [ordered]@{
        schemaVersion = '1'; answers = $Answers; handoff = [ordered]@{ run = $HandoffRun; generatedAt = $HandoffTime }
        tenantId = $TenantId.ToLowerInvariant(); startedAt = (Format-Time -Moment $Started); updatedAt = (Format-Time)
        by = [ordered]@{ tool = 'script'; version = $Version; account = $Account }; applied = [bool] $Apply; finished = $Finished
    }
    $json = ConvertTo-Json -InputObject $head -Depth 4 -Compress
    Write-File -Path $ResultFile -Text ($json.Substring(0, $json.Length - 1) + ',"devices":[' + "`n" + ($Written -join ",`n") + "`n]}`n")
}

# --- Keys -------------------------------------------------------------------------------------------

function Protect-File {
    # Creates a file that only the current user can read, before anything is written to it.
    param([string] $Path)
    [IO.File]::WriteAllText($Path, '')
    if ($env:OS -eq 'Windows_NT') {
        $null = & icacls.exe $Path '/inheritance:r' '/grant:r' ([Security.Principal.WindowsIdentity]::GetCurrent().Name + ':F')
    }
    else { $null = & chmod 600 $Path }
    if ($LASTEXITCODE -ne 0) { [IO.File]::Delete($Path); throw 'The access to the file for the keys could not be restricted, so nothing was written.' }
}

function Get-KeysOf {
    # All keys and passwords of one device id. The list never returns a key, so each is read by its id.
    param([string] $DeviceId)
    foreach ($key in @(Get-EveryPage -Uri ($KeysUri + '?' + (Get-Encoded -Filter ("deviceId eq '" + $DeviceId + "'"))))) {
        if ((Get-RealId -Id $key['deviceId']) -ne $DeviceId) { throw 'The service returned a key of another device.' }
        $whole = Get-Graph -Uri ($KeysUri + '/' + $key['id'] + '?$select=key')
        @{ kind = 'recoveryKey'; deviceId = $DeviceId; id = [string] $key['id']; volume = [string] $key['volumeType']; secret = [string] $whole['key'] }
    }
    $stored = Get-OneOrNothing -Uri ($PasswordsUri + '/' + $DeviceId + '?$select=credentials')
    if ($null -eq $stored) { return }
    foreach ($one in @($stored['credentials'])) {
        if ($null -eq $one) { continue }
        @{ kind = 'localPassword'; deviceId = $DeviceId; id = [string] $one['accountName']; volume = ''; secret = [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String([string] $one['passwordBase64'])) }
    }
}

function Save-AllKeys {
    # Writes the keys, then the receipt, and returns the receipt's path.
    param([object[]] $Results)
    $rows = New-Object System.Collections.ArrayList
    $entries = New-Object System.Collections.ArrayList
    $number = 0
    foreach ($result in $Results) {
        $number++
        Write-Progress -Activity 'Saving keys' -Status ([string] $number + ' of ' + $Results.Count) -PercentComplete (100 * $number / $Results.Count)
        $counts = @{ recoveryKey = 0; localPassword = 0 }
        $entry = [ordered]@{ row = $result.Device.Row; serialNumber = $null; result = 'saved'; recoveryKeys = 0; localPasswords = 0; deviceIds = @($result.DeviceIds) }
        if ($result.Device.Serial) { $entry.serialNumber = $result.Device.Serial }
        if ($result.DeviceIds.Count -eq 0) { $entry.result = 'not-found' }
        foreach ($id in $result.DeviceIds) {
            try {
                foreach ($secret in @(Get-KeysOf -DeviceId $id)) {
                    $counts[$secret.kind]++
                    $null = $rows.Add([pscustomobject]@{ SerialNumber = $result.Device.Serial; Name = $result.Name; DeviceId = $id; Kind = $secret.kind; Id = $secret.id; Volume = $secret.volume; Secret = $secret.secret })
                }
            }
            catch {
                $entry.result = 'failed'
                $entry.detail = Format-Problem -Problem (Get-Problem -Failure $_)
                Write-Warning ('Not saved: serial number ' + $result.Device.Serial + ': ' + $entry.detail)
            }
        }
        $entry.recoveryKeys = $counts.recoveryKey
        $entry.localPasswords = $counts.localPassword
        $null = $entries.Add($entry)
    }
    Write-Progress -Activity 'Saving keys' -Completed
    $text = (@($rows | ConvertTo-Csv -NoTypeInformation) -join "`r`n") + "`r`n"
    $name = 'handoff-keys-' + $HandoffName + '-' + $Stamp + $(if ($KeysCertificate) { '.cms' } else { '.csv' })
    $path = [IO.Path]::Combine($Folder, $name)
    Protect-File -Path $path
    if ($KeysCertificate) { $text = Protect-CmsMessage -To $KeysCertificate -Content $text }
    else { Write-Warning ('The keys are in plain text in ' + $path + '. Only you can read the file; move it to your key store and delete it.') }
    [IO.File]::WriteAllText($path, $text, (New-Object System.Text.UTF8Encoding ($false)))
    $hash = ([BitConverter]::ToString([Security.Cryptography.SHA256]::Create().ComputeHash([IO.File]::ReadAllBytes($path))) -replace '-', '').ToLowerInvariant()
    $receipt = [ordered]@{
        schemaVersion = '1'; answers = $Answers; tenantId = $TenantId.ToLowerInvariant(); savedAt = (Format-Time); account = $Account
        file = $name; sha256 = 'sha256:' + $hash; encrypted = [bool] $KeysCertificate; devices = @($entries)
    }
    $receiptPath = [IO.Path]::Combine($Folder, 'handoff-keys-receipt-' + $HandoffName + '-' + $Stamp + '.json')
    Write-File -Path $receiptPath -Text ((ConvertTo-Json -InputObject $receipt -Depth 6) + "`n")
    $kinds = @($rows | Group-Object -Property Kind -NoElement | ForEach-Object { [string] $_.Count + ' ' + $_.Name })
    Write-Host ('Saved: ' + $(if ($kinds) { $kinds -join ', ' } else { 'nothing is stored in Microsoft Entra ID' }) + '. Keys: ' + $path + '. Receipt: ' + $receiptPath)
    Write-Host 'The keys of hybrid joined devices can be in Active Directory or Configuration Manager: see the handoff.'
    return $receiptPath
}

$Receipt = $null
$StoredKeys = $null

function Read-Receipt {
    # The receipt by row, and how many keys and passwords the directory shows now by device id.
    param([string] $Path)
    try { $read = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText((Resolve-Path -LiteralPath $Path).ProviderPath)) }
    catch { Stop-Handoff ('The receipt ' + $Path + ' cannot be read: ' + $_.Exception.Message) }
    if ((Get-Value -Object $read -Name 'answers') -cne $Answers -or (Get-Value -Object $read -Name 'tenantId') -ne $TenantId) {
        Stop-Handoff ('The receipt ' + $Path + ' belongs to another handoff. Run the script with -SaveKeys.')
    }
    $script:Receipt = @{}
    foreach ($one in @($read.devices)) { $script:Receipt[[string] $one.row] = $one }
    $script:Receipt['savedAt'] = [string] (Format-Saved -Moment $read.savedAt)
    $script:StoredKeys = @{}
    try {
        foreach ($key in Get-EveryPage -Uri $KeysUri) { $script:StoredKeys['key ' + (Get-RealId -Id $key['deviceId'])]++ }
        foreach ($one in Get-EveryPage -Uri $PasswordsUri) { $script:StoredKeys['password ' + (Get-RealId -Id $one['id'])]++ }
    }
    catch { Stop-Handoff ('The list of stored keys could not be read, so the receipt cannot be checked: ' + (Format-Problem -Problem (Get-Problem -Failure $_))) }
}

function Format-Saved {
    param($Moment)
    if ($Moment -is [datetime]) { return Format-Time -Moment $Moment }
    return [string] $Moment
}

function Get-Unsaved {
    # The reason why the keys of a device do not count as saved; empty if they do.
    param([hashtable] $Result)
    if ($null -eq $Receipt) { return '' }
    $one = $Receipt[[string] $Result.Device.Row]
    $why = ''
    if ($null -eq $one -or [string] $one.serialNumber -cne $Result.Device.Serial) { $why = 'the receipt does not name it' }
    elseif ($one.result -ne 'saved') { $why = 'the receipt says ' + $one.result }
    else {
        $keys = 0
        $passwords = 0
        foreach ($id in $Result.DeviceIds) {
            $keys += [int] $StoredKeys['key ' + $id]
            $passwords += [int] $StoredKeys['password ' + $id]
        }
        if ($keys -gt $one.recoveryKeys -or $passwords -gt $one.localPasswords) {
            $why = 'the receipt counts ' + $one.recoveryKeys + ' keys and ' + $one.localPasswords + ' passwords, the directory shows ' + $keys + ' and ' + $passwords
        }
        $Result.Keys = [ordered]@{ recoveryKeys = [int] $one.recoveryKeys; localPasswords = [int] $one.localPasswords; savedAt = $Receipt['savedAt'] }
    }
    if ($why -and $KeysSaved) {
        Write-Warning ('Serial number ' + $Result.Device.Serial + ': ' + $why + '. -KeysSaved confirms that they are saved.')
        return ''
    }
    return $why
}

# --- Microsoft Entra ID, read only ------------------------------------------------------------------

function Find-DirectoryObject {
    # Whether the directory still has the devices, and how they are joined. The script does not act on
    # it; the partner uses it to close steps.
    param([object[]] $Results)
    $rows = New-Index
    $problem = ''
    $ids = @($Results | ForEach-Object { $_.DeviceIds } | Where-Object { $_ } | Sort-Object -Unique)
    if ($ids.Count -and -not (Test-Scope -Have @(Get-Value -Object (Get-MgContext) -Name 'Scopes') -Need $DirectoryScope)) { $problem = 'The session lacks ' + $DirectoryScope + '.' }
    try {
        for ($at = 0; $at -lt $ids.Count -and -not $problem; $at += 15) {
            $filter = @($ids[$at..([Math]::Min($at + 14, $ids.Count - 1))] | ForEach-Object { "deviceId eq '" + $_ + "'" }) -join ' or '
            foreach ($record in @(Get-EveryPage -Uri ($Directory + '?$select=id,deviceId,trustType,registrationDateTime&' + (Get-Encoded -Filter $filter)))) {
                $id = Get-RealId -Id $record['deviceId']
                if ($ids -notcontains $id) { throw 'The directory returned a device that was not asked for.' }
                if (-not $rows.ContainsKey($id)) { $rows[$id] = New-Object System.Collections.ArrayList }
                $null = $rows[$id].Add($record)
            }
        }
    }
    catch { $problem = Format-Problem -Problem (Get-Problem -Failure $_) }
    $earlier = Read-EarlierResult
    foreach ($result in $Results) {
        $look = @{ result = 'failed'; observedAt = (Format-Time) }
        $known = @($earlier[[string] $result.Device.Row] | Where-Object { $_ })
        if ($result.DeviceIds.Count -eq 0 -and $known.Count -eq 0) {
            if ($null -eq $result.Autopilot) { continue }
            $look.detail = 'no device id is known to ask the directory for'
        }
        elseif ($problem) { $look.detail = $problem }
        else {
            $found = @($result.DeviceIds | ForEach-Object { $rows[$_] } | Where-Object { $null -ne $_ })
            if ($result.DeviceIds.Count -eq 0) {
                try { $found = @($known | ForEach-Object { Get-OneOrNothing -Uri ($Directory + '/' + $_ + '?$select=id,deviceId,trustType,registrationDateTime') } | Where-Object { $null -ne $_ }) }
                catch {
                    $result.Planes['entra'] = @{ result = 'failed'; observedAt = (Format-Time); detail = (Format-Problem -Problem (Get-Problem -Failure $_)) }
                    Update-Written -Result $result
                    continue
                }
            }
            $look.result = 'absent'
            if ($found.Count) { $look.result = 'found'; $look.ids = @($found | ForEach-Object { Get-RealId -Id $_['id'] } | Select-Object -First 20) }
            $result.JoinType = Get-JoinType -Result $result -Found $found
        }
        $result.Planes['entra'] = $look
        Update-Written -Result $result
    }
}

function Read-EarlierResult {
    # The ids of directory objects by row, from earlier results of this handoff's script in this
    # folder: once the other records are gone, nothing else leads to them.
    $ids = @{}
    foreach ($file in @(Get-ChildItem -LiteralPath $Folder -Filter ('handoff-result-' + $HandoffName + '-*.json') -File)) {
        try { $read = ConvertFrom-Json -InputObject ([IO.File]::ReadAllText($file.FullName)) }
        catch { continue }
        if ((Get-Value -Object $read -Name 'answers') -cne $Answers) { continue }
        foreach ($device in @(Get-Value -Object $read -Name 'devices')) {
            $seen = Get-Value -Object (Get-Value -Object $device -Name 'planes') -Name 'entra'
            $found = @(Get-Value -Object $seen -Name 'ids' | Where-Object { $_ -match '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' })
            if ($found.Count) { $ids[[string] (Get-Value -Object $device -Name 'row')] = $found }
        }
    }
    return $ids
}

function Get-JoinType {
    # The strongest claim wins: a hybrid joined device has a pre-created object beside its own.
    param([hashtable] $Result, [object[]] $Found)
    $joined = @($Found | Where-Object { -not ($_['trustType'] -eq 'AzureAd' -and $_.ContainsKey('registrationDateTime') -and -not $_['registrationDateTime']) } | ForEach-Object { ([string] $_['trustType']).ToLowerInvariant() })
    foreach ($pair in @(@('serverad', 'hybrid-joined'), @('azuread', 'entra-joined'), @('workplace', 'registered'))) { if ($joined -contains $pair[0]) { return $pair[1] } }
    if ($Result.Planes['intune'].result -eq 'absent') { return 'none' }
    return ''
}

# --- Active Directory and Configuration Manager, read only ------------------------------------------

function Find-Computer {
    param([hashtable] $Result)
    $seen = [ordered]@{ result = 'absent'; observedAt = (Format-Time) }
    try {
        if ($Result.DeviceIds.Count -eq 0) { throw 'No device id is known to look it up by.' }
        foreach ($id in $Result.DeviceIds) {
            $computer = @(Get-ADComputer -Filter ("objectGUID -eq '" + $id + "'") -Properties 'LastLogonDate', 'Enabled')[0]
            if ($null -eq $computer) { continue }
            $below = @(Get-ADObject -Filter '*' -SearchBase $computer.DistinguishedName -SearchScope OneLevel)
            # Whether a password exists, never the password itself.
            $laps = @(Get-ADObject -LDAPFilter '(|(msLAPS-PasswordExpirationTime=*)(ms-Mcs-AdmPwdExpirationTime=*))' -SearchBase $computer.DistinguishedName -SearchScope Base)
            $seen.result = 'found'
            $seen.ids = @($id)
            $seen.distinguishedName = [string] $computer.DistinguishedName
            $seen.enabled = [bool] $computer.Enabled
            if ($null -ne $computer.LastLogonDate) { $seen.lastLogonAt = Format-Time -Moment $computer.LastLogonDate }
            $seen.children = $below.Count
            $seen.recoveryKeys = @($below | Where-Object { $_.ObjectClass -eq 'msFVE-RecoveryInformation' }).Count
            $seen.localPassword = $laps.Count -gt 0
        }
    }
    catch { $seen = [ordered]@{ result = 'failed'; observedAt = (Format-Time); detail = (Get-Plain -Text $_.Exception.Message) } }
    $Result.Planes['active-directory'] = $seen
}

function Find-ConfigurationManagerRecord {
    param([hashtable] $Result)
    $seen = [ordered]@{ result = 'absent'; observedAt = (Format-Time) }
    try {
        $serial = $Result.Device.Serial.Replace('\', '\\').Replace("'", "\'").Replace('"', '\"')
        $rows = @(Invoke-CMWmiQuery -Query ('SELECT ResourceID, SerialNumber FROM SMS_G_System_PC_BIOS WHERE SerialNumber = "' + $serial + '"') | Where-Object { (Get-Folded -Serial $_.SerialNumber) -ceq (Get-Folded -Serial $Result.Device.Serial) })
        if ($rows.Count) { $seen.result = 'found'; $seen.ids = @($rows | ForEach-Object { [string] $_.ResourceID } | Sort-Object -Unique) }
    }
    catch { $seen = [ordered]@{ result = 'failed'; observedAt = (Format-Time); detail = (Get-Plain -Text $_.Exception.Message) } }
    $Result.Planes['configuration-manager'] = $seen
}

# --- The firmware of this device, read only ---------------------------------------------------------

$AssociationSpace = '{B3DE75DA-819C-4FD5-9F01-C3D49E8CBBD7}'
# Windows creates the first two again after a restart; only the others are an association. The last
# two are names that older devices may use.
$BaseVariables = 'DeviceLinkId', 'DeviceLinkCreationTimeUtc'
$AssociationVariables = 'DeviceLinkJwtCompressed', 'DeviceLinkJwtLastWrite', 'DeviceLinkBlob', 'DeviceLinkUtc'

function Test-FirmwareVariable {
    # Whether the variable has a value, which itself is never shown. The code 203 says that there is none.
    param([string] $Name)
    $problems = @()
    $value = UEFI\Get-UEFIVariable -Namespace $AssociationSpace -VariableName $Name -ErrorAction SilentlyContinue -ErrorVariable problems
    if ($value) { return $true }
    if (@($problems | Where-Object { [string] $_ -match 'last error = 203\b' }).Count) { return $false }
    throw ('the variable ' + $Name + ' could not be read: ' + (Get-Plain -Text ($problems -join ' ')))
}

function Invoke-FirmwareCheck {
    # Shows what the firmware of this device holds, and returns the exit code.
    try {
        $serial = Get-Plain -Text (Get-CimInstance -ClassName 'Win32_BIOS').SerialNumber
        if ($null -eq (Get-Command -Name 'UEFI\Get-UEFIVariable' -ErrorAction SilentlyContinue)) {
            throw 'the module UEFI is not installed. Run: Install-Module UEFI -Scope CurrentUser. Then open a new elevated window.'
        }
        # Without it, a window that may read nothing could look like firmware that holds nothing.
        if (-not (UEFI\Get-UEFIVariable -VariableName 'BootOrder' -ErrorAction SilentlyContinue)) {
            throw 'the firmware does not let this window read. Use a window that is elevated ("Run as administrator"), on a device that starts with UEFI.'
        }
        $held = @($AssociationVariables + $BaseVariables | Where-Object { Test-FirmwareVariable -Name $_ })
    }
    catch {
        $Host.UI.WriteErrorLine('Not verified: ' + (Get-Plain -Text $_.Exception.Message))
        return 1
    }
    $listed = @($Devices | Where-Object { $_.Serial -and (Get-Folded -Serial $_.Serial) -ceq (Get-Folded -Serial $serial) }).Count
    if (-not $listed) { Write-Warning ('The handoff does not list a device with the serial number ' + $serial + '.') }
    if ($held.Count) { Write-Host ('Variables with a value: ' + ($held -join ', ') + '.') }
    if (@($held | Where-Object { $AssociationVariables -contains $_ }).Count) {
        Write-Host ('Serial number ' + $serial + ': the firmware holds a device association. The handoff says how to clear it.')
        return 7
    }
    Write-Host ('Serial number ' + $serial + ': the firmware holds no device association. Tell your partner: no-device-association.')
    return 0
}

# --- The session ------------------------------------------------------------------------------------

function Assert-Module {
    $loaded = @(Get-Module -Name $Module)
    if ($loaded.Count -eq 0) {
        $installed = @(Get-Module -ListAvailable -Name $Module | Sort-Object -Property Version -Descending)
        if ($installed.Count -eq 0) {
            Stop-Handoff ('The module ' + $Module + ' is not installed. Run: Install-Module ' + $Module + ' -Scope CurrentUser. Then open a new window.')
        }
        $loaded = @($installed[0])
        if ($loaded[0].Version -ge $OldestModule) { Import-Module -Name $Module -MinimumVersion $OldestModule }
    }
    if ($loaded[0].Version -lt $OldestModule) {
        Stop-Handoff ('The module ' + $Module + ' is version ' + $loaded[0].Version + '. Versions before ' + $OldestModule + ' corrupt requests to the service. Run: Update-Module ' + $Module + '. Then open a new window.')
    }
}

function Test-Scope {
    param([string[]] $Have, [string] $Need)
    $enough = @($Need)
    if ($Need -like '*.Read.All') { $enough += $Need.Replace('.Read.All', '.ReadWrite.All') }
    if ($Need -like '*.ReadBasic.All') { $enough += $Need.Replace('.ReadBasic.All', '.Read.All') }
    return @($enough | Where-Object { $Have -contains $_ }).Count -gt 0
}

function Get-MissingScope {
    param($Context, [string[]] $Needed)
    $have = @(Get-Value -Object $Context -Name 'Scopes')
    return @($Needed | Where-Object { -not (Test-Scope -Have $have -Need $_) })
}

function Connect-Handoff {
    # Uses an existing session, however it was opened, if its tenant and permissions are sufficient.
    param([string[]] $Needed)
    $context = Get-MgContext
    if ($null -ne $context -and $context.TenantId -ne $TenantId) {
        Stop-Handoff ('Signed in to the tenant ' + $context.TenantId + ', but the handoff is for ' + $TenantId + '. Run Disconnect-MgGraph, then start the script again.')
    }
    $lacking = @(Get-MissingScope -Context $context -Needed $Needed)
    if ($null -eq $context -or $lacking.Count) {
        if ($null -ne $context -and (Get-Value -Object $context -Name 'AuthType') -eq 'AppOnly') {
            Stop-Handoff ('The app that is signed in lacks: ' + ($lacking -join ', ') + '. Grant these application permissions, or run Disconnect-MgGraph and sign in as a person.')
        }
        $options = @{ TenantId = $TenantId; Scopes = @($Needed) + $DirectoryScope; NoWelcome = $true }
        if ($UseDeviceCode) { $options.UseDeviceCode = $true }
        try { $null = Connect-MgGraph @options }
        catch {
            Stop-Handoff ('The sign-in failed: ' + (Get-Plain -Text $_.Exception.Message) + 'Try a window that is not elevated (not "Run as administrator"); a new window in which no other Microsoft module was used; or the script''s switch -UseDeviceCode, which also works with delegated administration of a customer''s tenant. Nothing was changed.')
        }
        $context = Get-MgContext
    }
    if ($null -eq $context -or $context.TenantId -ne $TenantId) {
        Stop-Handoff ('The sign-in was for a tenant other than ' + $TenantId + '. Run Disconnect-MgGraph, then start the script again with an account of that tenant.')
    }
    $lacking = @(Get-MissingScope -Context $context -Needed $Needed)
    if ($lacking.Count) {
        Stop-Handoff ('The session lacks: ' + ($lacking -join ', ') + '. Ask an administrator to consent to these permissions of Microsoft Graph Command Line Tools, then start the script again.')
    }
    $script:Account = Get-Value -Object $context -Name 'Account'
    if (-not $script:Account) { $script:Account = Get-Value -Object $context -Name 'ClientId' }
}

function Test-Interactive {
    # Whether a question can be answered.
    if (-not [Environment]::UserInteractive) { return $false }
    foreach ($argument in [Environment]::GetCommandLineArgs()) { if ($argument -match '^[-/]noni') { return $false } }
    return -not ($Host.Name -eq 'ConsoleHost' -and [Console]::IsInputRedirected)
}

function Get-NeededScope {
    $scopes = @('DeviceManagementManagedDevices.Read.All', 'DeviceManagementServiceConfig.Read.All')
    if (-not $Preview) { $scopes = @('DeviceManagementManagedDevices.ReadWrite.All', 'DeviceManagementServiceConfig.ReadWrite.All') }
    if ($SaveKeys) { $scopes += 'BitlockerKey.Read.All', 'DeviceLocalCredential.Read.All' }
    elseif ($KeysReceipt) { $scopes += 'BitlockerKey.ReadBasic.All', 'DeviceLocalCredential.ReadBasic.All' }
    return $scopes
}

# --- Waiting ----------------------------------------------------------------------------------------

function Sync-Autopilot {
    try { $null = Invoke-Graph -Method 'POST' -Uri $SyncUri }
    catch {
        $problem = Get-Problem -Failure $_
        if ($problem.Status -eq 409 -or $problem.Status -eq 429) { Write-Host 'A sync is running, or the last one is less than ten minutes old. No other is needed.' }
        else { Write-Warning ('Windows Autopilot was not synced, so the removal only takes longer: ' + (Format-Problem -Problem $problem)) }
    }
}

function Get-StillThere {
    # The results whose record is still shown. A record that cannot be checked counts as still there.
    param([object[]] $Open, [string] $Plane)
    $place = $Places[$Plane]
    try {
        if ($place.Small) {
            Read-WholeList -Place $place
            return @($Open | Where-Object { $place.ById.ContainsKey((Get-RealId -Id $_[$(if ($Plane -eq 'intune') { 'Intune' } else { 'Autopilot' })]['id'])) })
        }
        return @($Open | Where-Object { $null -ne (Get-OneOrNothing -Uri (Get-RecordUri -Place $place -Id (Get-RealId -Id $_[$(if ($Plane -eq 'intune') { 'Intune' } else { 'Autopilot' })]['id']))) })
    }
    catch {
        Write-Warning ('The check failed: ' + (Format-Problem -Problem (Get-Problem -Failure $_)))
        return $Open
    }
}

function Wait-UntilGone {
    param([object[]] $Open)
    $begun = [datetime]::UtcNow
    while ($true) {
        $left = @(Get-StillThere -Open $Open -Plane 'autopilot')
        foreach ($result in $Open) {
            if ($left -contains $result) { continue }
            $result.Awaited = $false
            $result.Untaken = $false
            if ($result.AutopilotWord -eq 'submitted') { $result.Detail = ''; $result.RequestId = '' }
            foreach ($step in $result.Steps) { if ($step.id -eq 'deregister-from-autopilot') { $step.status = 'done' } }
            $result.AutopilotWord = 'gone'
            $result.Planes['autopilot'] = @{ result = 'absent'; observedAt = (Format-Time) }
            Update-Written -Result $result
        }
        if ($left.Count -lt $Open.Count) { Save-Results -Finished $false }
        $Open = $left
        $minutes = [int] [Math]::Floor(([datetime]::UtcNow - $begun).TotalMinutes)
        if ($Open.Count -eq 0 -or $minutes -ge $WaitMinutes) { break }
        Write-Host ('Waiting for ' + $Open.Count + ' registrations to disappear: ' + $minutes + ' of at most ' + $WaitMinutes + ' minutes. Ctrl+C is safe: run the script again later.')
        Write-Progress -Activity 'Waiting for Windows Autopilot' -Status ([string] $Open.Count + ' registrations') -PercentComplete (100 * $minutes / [Math]::Max(1, $WaitMinutes))
        Start-Sleep -Seconds $PollSeconds
    }
    foreach ($result in $Open) {
        $result.AutopilotWord = 'still there'
        $result.Planes['autopilot'] = @{ result = 'found'; observedAt = (Format-Time); ids = @(Get-RealId -Id $result.Autopilot['id']) }
        if ($result.Untaken) { Set-Refusal -Result $result -Rule 'still-there' -Detail $result.Detail }
        elseif (-not $result.Detail) { $result.Detail = 'still registered: run the script again later' }
        Update-Written -Result $result
        Write-Warning ('Still registered in Windows Autopilot: serial number ' + $result.Device.Serial)
    }
}

function Confirm-Deleted {
    # A deletion that Intune accepted counts as done once a check no longer shows the record.
    param([object[]] $Deleted)
    $left = @(Get-StillThere -Open $Deleted -Plane 'intune')
    foreach ($result in $Deleted) {
        if ($left -contains $result) {
            $result.Detail = 'Intune still shows it: run the script again later'
            foreach ($step in $result.Steps) { if ($step.id -eq 'delete-from-intune') { $step.status = 'waiting' } }
        }
        else { $result.Planes['intune'] = @{ result = 'absent'; observedAt = (Format-Time) } }
        Update-Written -Result $result
    }
}

function Update-Written {
    param([hashtable] $Result)
    $Written[$Result.Index] = Get-ResultEntry -Result $Result
}

function Show-Table {
    param([object[]] $Results)
    foreach ($result in $Results) {
        $detail = $result.Detail
        if ($result.Rule) { $detail = 'refused: ' + (Get-Why -Result $result) }
        $row = New-Object PSObject -Property ([ordered]@{
            SerialNumber = $result.Device.Serial
            Intune       = (Get-Word -Result $result -Plane 'intune' -Word $result.IntuneWord)
            Autopilot    = (Get-Word -Result $result -Plane 'autopilot' -Word $result.AutopilotWord)
            Association  = (Get-AssociationWord -Result $result)
            Detail       = $detail
            Row          = $result.Device.Row
            Name         = $result.Name
            User         = $result.User
            Outcome      = (Get-Outcome -Result $result)
            Reason       = $result.Rule
            RequestId    = $result.RequestId
        })
        $shown = New-Object System.Management.Automation.PSPropertySet ('DefaultDisplayPropertySet', [string[]] @('SerialNumber', 'Intune', 'Autopilot', 'Detail'))
        Add-Member -InputObject $row -MemberType MemberSet -Name 'PSStandardMembers' -Value ([System.Management.Automation.PSMemberInfo[]] @($shown))
        $row
    }
}

# --- The run ----------------------------------------------------------------------------------------

if ($CheckFirmware) {
    if ($Apply -or $SaveKeys) { Stop-Handoff '-CheckFirmware is for the device itself: pass it without -Apply and -SaveKeys.' }
    exit (Invoke-FirmwareCheck)
}
if (-not $TenantId) { Stop-Handoff 'The handoff names no tenant: pass -TenantId.' }
if ($KeysCertificate -and -not $SaveKeys) { Stop-Handoff '-KeysCertificate belongs to -SaveKeys.' }
if (-not $Preview -and -not ($KeysSaved -or $KeysReceipt -or $SaveKeys)) {
    Stop-Handoff 'Save the BitLocker recovery keys and local administrator passwords first (-SaveKeys does it), then pass -KeysReceipt FILE or -KeysSaved.'
}
if (-not $Preview -and -not $Silent -and -not (Test-Interactive)) {
    Stop-Handoff 'There is no terminal to ask on before each change: pass -Confirm:$false to carry out the steps without questions. Nothing was changed.'
}
if ($KeysReceipt -and -not (Test-Path -LiteralPath $KeysReceipt -PathType Leaf)) { Stop-Handoff ('There is no receipt ' + $KeysReceipt + '.') }
if ($ResultPath) {
    if (-not (Test-Path -LiteralPath $ResultPath -PathType Container)) { Stop-Handoff ('There is no folder ' + $ResultPath + '.') }
    $Folder = (Resolve-Path -LiteralPath $ResultPath).ProviderPath
}
else { $Folder = (Get-Location -PSProvider FileSystem).ProviderPath }
for ($copy = 1; ; $copy++) {
    $ResultFile = [IO.Path]::Combine($Folder, 'handoff-result-' + $HandoffName + '-' + $Stamp + '.json')
    if (-not [IO.File]::Exists($ResultFile)) { break }
    $Stamp = $Started.ToString('yyyyMMdd-HHmmss') + '-' + $copy
}
Assert-Module
Connect-Handoff -Needed (Get-NeededScope)
Write-Host ($Handoff + ': ' + $Devices.Count + ' devices. Signed in as ' + $Account + '.')
if (-not $Apply) { Write-Host 'Nothing will be changed. Pass -Apply to carry out the steps.' }

$sought = @($Devices | Where-Object { $_.Serial })
Read-Place -Place $Places.autopilot -Sought $sought
Read-Place -Place $Places.intune -Sought $sought
Read-Place -Place $Places['device-association'] -Sought $sought
$results = @(foreach ($device in $Devices) { Find-Device -Device $device })
if ($SaveKeys) { $KeysReceipt = @(Save-AllKeys -Results @($results | Where-Object { -not $_.Rule -or $_.Rule -ne 'duplicate' }))[-1] }
if ($SaveKeys -and -not $Apply) {
    Write-Host ('Next: ' + $MyInvocation.MyCommand.Name + ' -Apply -KeysReceipt ''' + $KeysReceipt + '''')
    exit $(if ($results.Count -and ([IO.File]::ReadAllText($KeysReceipt) -match '"result":\s*"(failed|not-found)"')) { 7 } else { 0 })
}
if ($KeysReceipt -and -not $WhatIfPreference) { Read-Receipt -Path $KeysReceipt }
if (-not $Preview -and $null -eq $Receipt) {
    $question = 'There is no receipt for the saved keys. Deleting a device from Intune removes its BitLocker key protectors, and users can no longer sign in to it with a Microsoft Entra account. Continue without a receipt?'
    if ($Silent) { Write-Warning 'There is no receipt for the saved keys. -KeysSaved and -Confirm:$false confirm that they are saved.' }
    elseif (-not $Self.ShouldContinue($question, 'Keys')) { Stop-Handoff 'Nothing was changed.' }
}

$number = 0
try {
    foreach ($result in $results) {
        $result.Index = $number
        $number++
        Write-Progress -Activity $Handoff -Status ([string] $number + ' of ' + $results.Count) -PercentComplete (100 * $number / $results.Count)
        if ($CheckActiveDirectory -and $result.Device.Serial) { Find-Computer -Result $result }
        if ($CheckConfigurationManager -and $result.Device.Serial) { Find-ConfigurationManagerRecord -Result $result }
        if (-not $Stopped) { Invoke-Device -Result $result }
        elseif (-not $result.Rule) { foreach ($step in $result.Moves) { Add-Step -Result $result -Id $step -Status 'planned' -Record $null } }
        $null = $Written.Add((Get-ResultEntry -Result $result))
        Save-Results -Finished $false
        Show-Device -Result $result -Number $number
    }
    Write-Progress -Activity $Handoff -Completed
    if (-not $Preview) {
        $deleted = @($results | Where-Object { $_.IntuneWord -eq 'deleted' })
        if ($deleted.Count) { Confirm-Deleted -Deleted $deleted }
        $open = @($results | Where-Object { $_.Awaited })
        if ($open.Count) {
            Sync-Autopilot
            Wait-UntilGone -Open $open
        }
        foreach ($result in $results) { if (-not $Stopped) { Complete-Association -Result $result } }
        Update-Association -Results @($results | Where-Object { $_.Steps.Count -and $_.Planes['device-association'].result -ne 'absent' })
    }
    Find-DirectoryObject -Results @($results | Where-Object { $_.Rule -ne 'duplicate' })
    Save-Results -Finished $true
}
finally {
    if ($number -and -not $WhatIfPreference) { Write-Host ('Results: ' + $ResultFile + '. Send this file to your partner; it contains no keys or passwords.') }
}
Write-Host 'Microsoft Entra ID and Active Directory were not changed: see the handoff for what is left there.'
if ($Stopped) { $Host.UI.WriteErrorLine($Stopped) }
# The table comes last and in one piece: PowerShell sets its columns by the first rows that arrive.
$table = @(Show-Table -Results $results)
$table
$refused = @($results | Where-Object { 'refused', 'duplicate' -contains (Get-Outcome -Result $_) })
$unfinished = @($results | Where-Object { (Get-Outcome -Result $_) -eq 'left' })
if ($Stopped -and $Changed -eq 0) { exit 1 }
if ($Stopped -or $refused.Count -or (-not $Preview -and $unfinished.Count)) { exit 7 }
exit 0

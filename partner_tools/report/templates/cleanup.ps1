#requires -Version 5.1
<#
.SYNOPSIS
Carries out the open Intune and Windows Autopilot steps of one handoff, for exactly its devices.

.DESCRIPTION
Per device and in this order: delete it from Intune, unassign its user, delete its Windows Autopilot
registration. After the last one: sync once, then wait until every registration is gone.

Without -Apply nothing is changed: the script looks, and says what it would do.
With -Apply it asks before every change; -Confirm:$false answers for all of them.

A device is found by the id that the handoff has of it, otherwise by its exact serial number. Every
record that a service returns is compared with that serial number again. Where anything is doubtful
the device is refused and left as it is. Microsoft Entra ID and Active Directory are never touched.

Needs the module Microsoft.Graph.Authentication and an account with the role Intune Administrator.

.PARAMETER Apply
Carry the steps out. Without it nothing is changed.

.PARAMETER KeysSaved
Confirms that the BitLocker recovery keys and local administrator passwords are saved. Deleting a
device from Intune removes its key protectors, so -Apply refuses without it.

.PARAMETER TenantId
The tenant that the script may work in. It refuses a session of any other.

.PARAMETER WaitMinutes
How long to wait for registrations to disappear.

.EXAMPLE
.\handoff.ps1
Shows what would be done.

.EXAMPLE
.\handoff.ps1 -Apply -KeysSaved
Does it, asking before every change.
#>
[CmdletBinding(SupportsShouldProcess = $true, ConfirmImpact = 'High')]
param(
    [switch] $Apply,
    [switch] $KeysSaved,
    [string] $TenantId = @@TENANT@@,
    [ValidateRange(0, 1440)]
    [int] $WaitMinutes = 120
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$Handoff = @@HANDOFF@@
$Devices = @(
@@DEVICES@@
)

$Self = $PSCmdlet
$ManagedDevices = 'v1.0/deviceManagement/managedDevices'
$Identities = 'v1.0/deviceManagement/windowsAutopilotDeviceIdentities'
$SyncUri = 'beta/deviceManagement/windowsAutopilotSettings/sync'
$AllIdentities = $null
$Submitted = New-Object System.Collections.ArrayList

function Invoke-Graph {
    param([string] $Method, [string] $Uri)
    $WhatIfPreference = $false
    $ConfirmPreference = 'None'
    Invoke-MgGraphRequest -Method $Method -Uri $Uri
}

function Get-StatusCode {
    param($Failure)
    $response = $Failure.Exception.PSObject.Properties['Response']
    if ($null -eq $response -or $null -eq $response.Value) { return 0 }
    $status = $response.Value.PSObject.Properties['StatusCode']
    if ($null -eq $status -or $null -eq $status.Value) { return 0 }
    return [int] $status.Value
}

function Get-OneOrNothing {
    param([string] $Uri)
    try {
        return Invoke-Graph -Method 'GET' -Uri $Uri
    }
    catch {
        if ((Get-StatusCode -Failure $_) -eq 404) { return $null }
        throw
    }
}

function Get-EveryPage {
    param([string] $Uri)
    $seen = @{}
    $next = $Uri
    while ($next) {
        if ($seen.ContainsKey($next)) { throw 'refused: the service repeats a page, so the list cannot be read completely' }
        $seen[$next] = $true
        $page = Invoke-Graph -Method 'GET' -Uri $next
        foreach ($record in @($page['value'])) { if ($null -ne $record) { $record } }
        $next = $page['@odata.nextLink']
    }
}

function Test-SameSerial {
    param($Record, $Device)
    return ([string] $Record['serialNumber']).Trim() -ceq ([string] $Device.Serial).Trim()
}

function Select-TheOne {
    param([object[]] $Records, $Device, [string] $Kind)
    $same = @($Records | Where-Object { Test-SameSerial -Record $_ -Device $Device })
    if ($same.Count -gt 1) { throw ('refused: several records of kind ' + $Kind + ' carry this serial number') }
    if ($same.Count -eq 0) { return $null }
    return $same[0]
}

function Find-ById {
    param([string] $Collection, [string] $Id, $Device, [string] $Kind)
    $record = Get-OneOrNothing -Uri ($Collection + '/' + $Id)
    if ($null -eq $record) { return $null }
    if (-not (Test-SameSerial -Record $record -Device $Device)) {
        throw ('refused: the ' + $Kind + ' with the listed id carries another serial number')
    }
    return $record
}

function Find-ManagedBySerial {
    param($Device)
    $filter = "serialNumber eq '" + $Device.Serial.Replace("'", "''") + "'"
    $records = @(Get-EveryPage -Uri ($ManagedDevices + '?$filter=' + [uri]::EscapeDataString($filter)))
    return Select-TheOne -Records $records -Device $Device -Kind 'managed device'
}

function Find-ManagedDevice {
    param($Device)
    if (-not $Device.ManagedDeviceId) { return Find-ManagedBySerial -Device $Device }
    $record = Find-ById -Collection $ManagedDevices -Id $Device.ManagedDeviceId -Device $Device -Kind 'managed device'
    if ($null -ne $record) { return $record }
    if ($null -ne (Find-ManagedBySerial -Device $Device)) {
        throw 'refused: the device was enrolled again under another id since the handoff; ask for a new one'
    }
    return $null
}

function Get-AllIdentities {
    if ($null -eq $script:AllIdentities) { $script:AllIdentities = @(Get-EveryPage -Uri $Identities) }
    return $script:AllIdentities
}

function Find-IdentityBySerial {
    param($Device)
    $filter = "contains(serialNumber,'" + $Device.Serial.Replace("'", "''") + "')"
    try {
        $records = @(Get-EveryPage -Uri ($Identities + '?$filter=' + [uri]::EscapeDataString($filter)))
    }
    catch {
        if ((Get-StatusCode -Failure $_) -ne 400) { throw }
        $records = @(Get-AllIdentities)
    }
    return Select-TheOne -Records $records -Device $Device -Kind 'Windows Autopilot registration'
}

function Find-Identity {
    param($Device)
    if (-not $Device.AutopilotId) { return Find-IdentityBySerial -Device $Device }
    $record = Find-ById -Collection $Identities -Id $Device.AutopilotId -Device $Device -Kind 'Windows Autopilot registration'
    if ($null -ne $record) { return $record }
    if ($null -ne (Find-IdentityBySerial -Device $Device)) {
        throw 'refused: the device was registered again under another id since the handoff; ask for a new one'
    }
    return $null
}

function Test-MayChange {
    param([string] $Target, [string] $Action)
    if (-not $Apply) {
        Write-Host ('What if: ' + $Action + ': ' + $Target)
        return $false
    }
    return $Self.ShouldProcess($Target, $Action)
}

function Remove-FromIntune {
    param($Device)
    $record = Find-ManagedDevice -Device $Device
    if ($null -eq $record) { return 'not there' }
    $target = 'managed device ' + $record['id'] + ', serial number ' + $Device.Serial
    if (-not (Test-MayChange -Target $target -Action 'Delete from Intune')) { return 'left' }
    $null = Invoke-Graph -Method 'DELETE' -Uri ($ManagedDevices + '/' + $record['id'])
    return 'deleted'
}

function Remove-FromAutopilot {
    param($Device, [string] $Intune)
    $record = Find-Identity -Device $Device
    if ($null -eq $record) { return 'not there' }
    $target = 'registration ' + $record['id'] + ', serial number ' + $Device.Serial
    if ($Apply -and $null -ne (Find-ManagedBySerial -Device $Device)) { return 'left: still in Intune' }
    if ($record['userPrincipalName']) {
        if (-not (Test-MayChange -Target $target -Action 'Unassign the user')) {
            if ($Apply) { return 'left' }
        }
        else {
            $null = Invoke-Graph -Method 'POST' -Uri ($Identities + '/' + $record['id'] + '/unassignUserFromDevice')
        }
    }
    if (-not (Test-MayChange -Target $target -Action 'Delete from Windows Autopilot')) { return 'left' }
    $null = Invoke-Graph -Method 'DELETE' -Uri ($Identities + '/' + $record['id'])
    $null = $Submitted.Add($record['id'])
    return 'submitted'
}

function Invoke-Device {
    param($Device)
    $result = New-Object PSObject -Property @{
        Row = $Device.Row; Serial = $Device.Serial; Intune = ''; Autopilot = ''; Detail = ''
    }
    if ($Device.Refusal) {
        $result.Detail = 'refused: ' + $Device.Refusal
        return $result
    }
    try {
        if ($Device.Intune) { $result.Intune = Remove-FromIntune -Device $Device }
        if ($Device.Autopilot) { $result.Autopilot = Remove-FromAutopilot -Device $Device -Intune $result.Intune }
    }
    catch {
        $result.Detail = $_.Exception.Message
    }
    return $result
}

function Sync-Autopilot {
    try {
        $null = Invoke-Graph -Method 'POST' -Uri $SyncUri
    }
    catch {
        $status = Get-StatusCode -Failure $_
        if ($status -ne 409 -and $status -ne 429) { throw }
        Write-Warning 'A sync is running, or the last one is less than ten minutes old. It will do.'
    }
}

function Wait-UntilGone {
    $until = (Get-Date).AddMinutes($WaitMinutes)
    $open = @($Submitted)
    while ($open.Count -gt 0) {
        $open = @($open | Where-Object { $null -ne (Get-OneOrNothing -Uri ($Identities + '/' + $_)) })
        if ($open.Count -eq 0 -or (Get-Date) -ge $until) { break }
        Write-Host ('Waiting for ' + $open.Count + ' registrations to disappear.')
        Start-Sleep -Seconds 60
    }
    foreach ($id in $open) { Write-Warning ('Still there: registration ' + $id) }
    return $open.Count
}

function Assert-Session {
    if (-not $TenantId) { throw 'The handoff names no tenant: pass -TenantId.' }
    if (-not (Get-Command -Name 'Invoke-MgGraphRequest' -ErrorAction SilentlyContinue)) {
        throw 'Install the module first: Install-Module Microsoft.Graph.Authentication -Scope CurrentUser'
    }
    $scopes = 'DeviceManagementManagedDevices.Read.All', 'DeviceManagementServiceConfig.Read.All'
    if ($Apply) { $scopes = 'DeviceManagementManagedDevices.ReadWrite.All', 'DeviceManagementServiceConfig.ReadWrite.All' }
    if ($null -eq (Get-MgContext)) { $null = Connect-MgGraph -TenantId $TenantId -Scopes $scopes }
    if ((Get-MgContext).TenantId -ne $TenantId) {
        throw ('Signed in to another tenant than ' + $TenantId + ': run Disconnect-MgGraph and start again.')
    }
}

if ($Apply -and -not $KeysSaved) {
    throw 'Save the BitLocker recovery keys and local administrator passwords first, then pass -KeysSaved.'
}
Assert-Session
Write-Host ($Handoff + ': ' + $Devices.Count + ' devices.')
if (-not $Apply) { Write-Host 'Nothing will be changed. Pass -Apply -KeysSaved to carry it out.' }

$results = @(foreach ($device in $Devices) { Invoke-Device -Device $device })
$left = 0
if ($Submitted.Count -gt 0) {
    Sync-Autopilot
    $left = Wait-UntilGone
}
$results | Select-Object -Property 'Row', 'Serial', 'Intune', 'Autopilot', 'Detail'
Write-Host 'Microsoft Entra ID and Active Directory were not touched: see the handoff for what is left there.'
$unfinished = @($results | Where-Object { $_.Detail -or $_.Autopilot -like 'left*' -or $_.Intune -eq 'left' })
if ($left -gt 0 -or $unfinished.Count -gt 0) { exit 7 }
exit 0

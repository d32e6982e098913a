# Stand-ins for the commands that -CheckActiveDirectory and -CheckConfigurationManager use.
function global:Get-ADComputer {
    param($Filter, $Properties)
    if ($Filter -like '*@@BROKEN@@*') { throw 'Unable to contact the server.' }
    if ($Filter -eq "objectGUID -eq '@@ID@@'") {
        [pscustomobject]@{
            DistinguishedName = 'CN=LT-1,DC=contoso,DC=com'; Enabled = $true
            LastLogonDate     = [datetime] '2026-11-01T10:00:00Z'
        }
    }
}
function global:Get-ADObject {
    param($Filter, $LDAPFilter, $SearchBase, $SearchScope)
    if ($LDAPFilter) { return [pscustomobject]@{ ObjectClass = 'computer' } }
    [pscustomobject]@{ ObjectClass = 'msFVE-RecoveryInformation' }
    [pscustomobject]@{ ObjectClass = 'printQueue' }
}
function global:Invoke-CMWmiQuery {
    param($Query)
    if ($Query -notlike '*"SN2"*') { return }
    [pscustomobject]@{ ResourceID = 16777220; SerialNumber = 'SN2' }
    [pscustomobject]@{ ResourceID = 16777221; SerialNumber = 'SN22' }
}

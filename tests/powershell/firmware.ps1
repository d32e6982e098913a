# Stand-ins for what -CheckFirmware uses: the variables that STANDIN_HELD names have a value, and
# reading another fails with STANDIN_CODE, in the words of the module UEFI.
function global:Get-CimInstance {
    param($ClassName)
    [pscustomobject]@{ SerialNumber = 'SN1' }
}
New-Module -Name UEFI -ScriptBlock {
    function Get-UEFIVariable {
        [CmdletBinding()]
        param([string] $Namespace = '{8BE4DF61-93CA-11D2-AA0D-00E098032B8C}', [string] $VariableName)
        if ($env:STANDIN_HELD.Split(' ') -contains $VariableName) { return 'made up value' }
        Write-Error "Unable to retrieve variable $VariableName from namespace $Namespace, last error = $env:STANDIN_CODE."
        return ''
    }
} | Import-Module -Global

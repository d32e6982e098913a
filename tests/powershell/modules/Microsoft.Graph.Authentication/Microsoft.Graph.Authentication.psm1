# A stand-in for Microsoft.Graph.Authentication, after what its users report of it:
# docs of the suite: tests/powershell/README.md. Settings come from the environment, so that one
# PowerShell can play several situations after another:
#   STANDIN_GRAPH       base address, without a version
#   STANDIN_TOKENS      JSON: token by kind, `read`, `write`, `keys`
#   STANDIN_CONSENTED   scopes that were consented to earlier, separated by blanks
#   STANDIN_SIGN_IN     what a sign-in fails with; -UseDeviceCode works nevertheless
#   STANDIN_LANDS_IN    the tenant that a sign-in leads to, where it is not the one asked for
#   STANDIN_GRANTS      the scopes that a sign-in brings, where they are not the ones asked for
#   STANDIN_BREAK       'path-query' (as 2.11.0), 'double-encode' (as 2.18.0), 'lose-filter'
#   STANDIN_LOG         a file: one line of JSON for each sign-in and request
$script:Context = $null
$script:Client = [System.Net.Http.HttpClient]::new()

function Write-Log {
    param([hashtable] $Entry)
    if ($env:STANDIN_LOG) { Add-Content -LiteralPath $env:STANDIN_LOG -Value (ConvertTo-Json -InputObject $Entry -Compress) -WhatIf:$false -Confirm:$false }
}

function Connect-MgGraph {
    [CmdletBinding()]
    param([string] $TenantId, [string[]] $Scopes, [string] $ClientId, [switch] $NoWelcome, [switch] $UseDeviceCode)
    Write-Log @{ call = 'Connect-MgGraph'; scopes = @($Scopes); deviceCode = [bool] $UseDeviceCode }
    if ($env:STANDIN_SIGN_IN -and -not $UseDeviceCode) { throw $env:STANDIN_SIGN_IN }
    $tenant = $TenantId
    if ($env:STANDIN_LANDS_IN) { $tenant = $env:STANDIN_LANDS_IN }
    $granted = $Scopes
    if ($env:STANDIN_GRANTS) { $granted = $env:STANDIN_GRANTS -split ' ' }
    Set-StandinSession -TenantId $tenant -Scopes (@($granted) + @($env:STANDIN_CONSENTED -split ' '))
}

function Set-StandinSession {
    # Also for tests: a session that somebody opened before the script.
    param([string] $TenantId, [string[]] $Scopes, [string] $AuthType = 'Delegated')
    $account = 'admin@contoso.onmicrosoft.com'
    if ($AuthType -eq 'AppOnly') { $account = $null }
    $script:Context = [pscustomobject]@{
        ClientId = '14d82eec-204b-4c2f-b7e8-296a70dab67e'; TenantId = $TenantId; AuthType = $AuthType; Account = $account
        Scopes   = @($Scopes | Where-Object { $_ } | Sort-Object -Unique); ContextScope = 'CurrentUser'
    }
    # The token has what was consented to, not what is asked for.
}

function Disconnect-MgGraph { $script:Context = $null }

function Get-MgContext { return $script:Context }

function Get-Token {
    $tokens = ConvertFrom-Json -InputObject $env:STANDIN_TOKENS
    if ($script:Context.Scopes -contains 'BitlockerKey.Read.All' -and $tokens.PSObject.Properties['keys']) { return $tokens.keys }
    if (@($script:Context.Scopes -like '*ReadWrite*').Count) { return $tokens.write }
    return $tokens.read
}

function Get-SentAddress {
    param([string] $Uri)
    $address = $Uri
    if ($Uri -notmatch '^https?://') { $address = $env:STANDIN_GRAPH + '/' + $Uri.TrimStart('/') }
    $at = $address.IndexOf('?')
    if ($at -lt 0 -or $Uri -match 'skiptoken') { return $address }
    switch ($env:STANDIN_BREAK) {
        'path-query' { return $address.Substring(0, $at) + '%3F' + $address.Substring($at + 1) }
        'double-encode' { return $address.Substring(0, $at + 1) + $address.Substring($at + 1).Replace('%', '%25') }
        'lose-filter' { return $address -replace '\$filter=[^&]*', '' }
    }
    return $address
}

function Invoke-MgGraphRequest {
    [CmdletBinding()]
    param([string] $Method = 'GET', [Parameter(Mandatory = $true)] [string] $Uri, $Body, [hashtable] $Headers, [string] $OutputType = 'HashTable')
    if ($null -eq $script:Context) { throw 'Authentication needed. Please call Connect-MgGraph.' }
    $address = Get-SentAddress -Uri $Uri
    for ($try = 0; ; $try++) {
        $request = [System.Net.Http.HttpRequestMessage]::new($Method, $address)
        $null = $request.Headers.TryAddWithoutValidation('Authorization', 'Bearer ' + (Get-Token))
        if ($Headers) { foreach ($name in $Headers.Keys) { $null = $request.Headers.TryAddWithoutValidation($name, [string] $Headers[$name]) } }
        $response = $script:Client.SendAsync($request).GetAwaiter().GetResult()
        $status = [int] $response.StatusCode
        Write-Log @{ call = $Method; uri = $address; status = $status; what = $PSCmdlet.MyInvocation.MyCommand.Name }
        # The client underneath repeats these three times; here without the wait.
        if ($status -notin 429, 503, 504 -or $try -ge 3) { break }
    }
    $text = $response.Content.ReadAsStringAsync().GetAwaiter().GetResult()
    if ($status -ge 400) {
        $head = @($Method + ' ' + $address, 'HTTP/1.1 ' + $status + ' ' + $response.ReasonPhrase)
        foreach ($header in $response.Headers) { $head += $header.Key + ': ' + ($header.Value -join ',') }
        $exception = [Microsoft.PowerShell.Commands.HttpResponseException]::new("Response status code does not indicate success: $($response.StatusCode) ($($response.ReasonPhrase)).", $response)
        $record = [System.Management.Automation.ErrorRecord]::new($exception, 'InvokeGraphHttpResponseException', 'InvalidOperation', $request)
        $record.ErrorDetails = [System.Management.Automation.ErrorDetails]::new(($head -join "`r`n") + "`r`n`r`n" + $text)
        $PSCmdlet.ThrowTerminatingError($record)
    }
    if ($text) { ConvertFrom-Json -InputObject $text -AsHashtable }
}

Export-ModuleMember -Function Connect-MgGraph, Disconnect-MgGraph, Get-MgContext, Invoke-MgGraphRequest, Set-StandinSession

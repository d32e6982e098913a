# Plays situations one after another in one PowerShell: reads [{name, steps: [{script, arguments,
# environment, session}]}] and writes what each step said, returned and exited with. What goes to
# the host itself (questions, errors, what -WhatIf says) is told apart by a line '@@ name' there.
param([string] $InputPath, [string] $OutputPath)

$told = foreach ($scene in @(Get-Content -LiteralPath $InputPath -Raw | ConvertFrom-Json)) {
    Remove-Module -Name Microsoft.Graph.Authentication -ErrorAction SilentlyContinue
    Get-ChildItem -Path Env:STANDIN_* | Remove-Item
    $number = 0
    foreach ($step in @($scene.steps)) {
        $number++
        foreach ($pair in $step.environment.PSObject.Properties) { Set-Item -Path ('Env:' + $pair.Name) -Value $pair.Value }
        if ($step.session) {
            Import-Module -Name Microsoft.Graph.Authentication
            Set-StandinSession -TenantId $step.session.tenant -Scopes @($step.session.scopes) -AuthType $step.session.type
        }
        Set-Location -LiteralPath $step.folder
        if ($step.stubs) { foreach ($one in @($step.stubs)) { Invoke-Expression $one } }
        $arguments = @{}
        foreach ($pair in $step.arguments.PSObject.Properties) { $arguments[$pair.Name] = $pair.Value }
        $Host.UI.WriteErrorLine('@@ ' + $scene.name + ' ' + $number)
        $Host.UI.WriteLine('@@ ' + $scene.name + ' ' + $number)
        $global:LASTEXITCODE = 0
        $streams = @()
        $thrown = ''
        try { $streams = @(& $step.script @arguments *>&1) } catch { $thrown = [string] $_ ; $global:LASTEXITCODE = 1 }
        $lines = @($streams | Where-Object { $_ -is [System.Management.Automation.InformationRecord] } | ForEach-Object { [string] $_ })
        $warnings = @($streams | Where-Object { $_ -is [System.Management.Automation.WarningRecord] } | ForEach-Object { [string] $_ })
        $objects = @($streams | Where-Object { $_ -isnot [System.Management.Automation.InformationRecord] -and $_ -isnot [System.Management.Automation.WarningRecord] -and $_ -isnot [System.Management.Automation.ErrorRecord] })
        $table = ($objects | Out-String -Width 200)
        $csv = ''
        if ($objects.Count) { $csv = ($objects | ConvertTo-Csv -NoTypeInformation) -join "`n" }
        [pscustomobject]@{ name = $scene.name; step = $number; code = $LASTEXITCODE; thrown = $thrown; lines = $lines; warnings = $warnings; objects = $objects; table = $table; csv = $csv }
    }
}
ConvertTo-Json -InputObject @($told) -Depth 4 -Compress | Set-Content -LiteralPath $OutputPath -Encoding utf8

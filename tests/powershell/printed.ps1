# Runs what documents and help tell a user of PowerShell to type, and writes what came of it.
param([string] $Python, [string] $Folder, [string] $CommandLine, [string] $OutputPath)
Set-Location -LiteralPath $Folder
$env:PATH = $Folder + [IO.Path]::PathSeparator + $env:PATH
$told = @{}
partner-tools completion powershell | Out-String | Invoke-Expression
foreach ($word in 'my', "it", "'my", 'plain', 'with') {
    $line = 'partner-tools validate ' + $word
    $found = [System.Management.Automation.CommandCompletion]::CompleteInput($line, $line.Length, $null)
    $told['complete ' + $word] = @($found.CompletionMatches | ForEach-Object {
        $typed = $line.Remove($found.ReplacementIndex, $found.ReplacementLength).Insert($found.ReplacementIndex, $_.CompletionText)
        $errors = $null
        $tree = [System.Management.Automation.Language.Parser]::ParseInput($typed, [ref] $null, [ref] $errors)
        $call = $tree.Find({ $args[0] -is [System.Management.Automation.Language.CommandAst] }, $true)
        @{ errors = $errors.Count; words = $call.CommandElements.Count; last = $call.CommandElements[-1].SafeGetValue() }
    })
}
$read = partner-tools validate ./plain.csv --output json | ConvertFrom-Json
$told.valid = $read.devices
$told.code = $LASTEXITCODE
$null = partner-tools validate ./none.csv 2>&1
$told.missing = $LASTEXITCODE
$env:PARTNER_TOOLS_LEDGER = 'it is set'
$told.environment = & $Python -c "import os; print(os.environ['PARTNER_TOOLS_LEDGER'])"
$told.arguments = Invoke-Expression ('& $Python -c "import sys, json; print(json.dumps(sys.argv[1:]))" ' + $CommandLine)
ConvertTo-Json -InputObject $told -Depth 6 | Set-Content -LiteralPath $OutputPath -Encoding utf8

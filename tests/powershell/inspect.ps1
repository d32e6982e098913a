# Reads [{name, text}] and writes, for each text, what PowerShell's own parser says of it: errors,
# the commands with their parameters, and every construct that Windows PowerShell 5.1 lacks.
param([string] $InputPath, [string] $OutputPath)

$newerKinds = 'TernaryExpressionAst', 'PipelineChainAst'
$newerTokens = 'QuestionDot', 'QuestionLBracket', 'QuestionQuestion', 'QuestionQuestionEquals', 'AndAnd', 'OrOr', 'QuestionMark'
$newerParameters = @{
    'ConvertFrom-Json' = @('AsHashtable', 'Depth', 'NoEnumerate'); 'ForEach-Object' = @('Parallel', 'ThrottleLimit')
    'Get-Date' = @('AsUTC', 'UnixTimeSeconds'); 'Invoke-WebRequest' = @('SkipHttpErrorCheck'); 'Select-String' = @('Raw')
    'Read-Host' = @('MaskInput'); 'Join-Path' = @('AdditionalChildPath'); 'Split-Path' = @('LeafBase', 'Extension')
    'Test-Json' = @('Json'); 'ConvertTo-Json' = @('AsArray', 'EnumsAsStrings', 'EscapeHandling'); 'Get-Error' = @(''); 'Sort-Object' = @('Stable')
}
Import-Module Microsoft.PowerShell.Utility, Microsoft.PowerShell.Management, Microsoft.PowerShell.Security
$PSModuleAutoLoadingPreference = 'None'  # a name that is nobody's would be looked for in every module
$commands = @{}
$found = foreach ($each in @(Get-Content -LiteralPath $InputPath -Raw | ConvertFrom-Json)) {
    $tokens = $null; $errors = $null
    $tree = [System.Management.Automation.Language.Parser]::ParseInput([string] $each.text, [ref] $tokens, [ref] $errors)
    $nodes = $tree.FindAll({ $true }, $true)
    $calls = @($nodes | Where-Object { $_ -is [System.Management.Automation.Language.CommandAst] } | ForEach-Object {
        $parameters = @($_.CommandElements | Where-Object { $_ -is [System.Management.Automation.Language.CommandParameterAst] } | ForEach-Object { $_.ParameterName })
        $bare = @($_.CommandElements | Select-Object -Skip 1 | Where-Object { $_ -isnot [System.Management.Automation.Language.CommandParameterAst] } | ForEach-Object { $_.Extent.Text })
        [pscustomobject]@{ name = $_.GetCommandName(); parameters = $parameters; arguments = $bare }
    })
    $newer = @($nodes | Where-Object { $newerKinds -contains $_.GetType().Name } | ForEach-Object { $_.GetType().Name + ': ' + $_.Extent.Text })
    $newer += @($nodes | Where-Object { $_.PSObject.Properties['NullConditional'] -and $_.NullConditional } | ForEach-Object { 'null-conditional: ' + $_.Extent.Text })
    $newer += @($tokens | Where-Object { $newerTokens -contains [string] $_.Kind } | ForEach-Object { [string] $_.Kind + ': ' + $_.Text })
    $newer += @($calls | ForEach-Object { $call = $_; foreach ($one in $call.parameters) { if ($call.name -and $newerParameters[$call.name] -contains $one) { $call.name + ' -' + $one } } })
    $unknown = @($calls | Where-Object { $_.name } | ForEach-Object {
        $call = $_
        if (-not $commands.ContainsKey($call.name)) {
            $commands[$call.name] = (Get-Command -Name $call.name -ErrorAction SilentlyContinue).Parameters
        }
        $known = $commands[$call.name]
        if ($known) { foreach ($one in $call.parameters) { if (@($known.Keys | Where-Object { $_ -like ($one + '*') }).Count -eq 0) { $call.name + ' -' + $one } } }
    })
    [pscustomobject]@{ name = $each.name; errors = @($errors | ForEach-Object { $_.Message }); commands = $calls; newer = @($newer | Where-Object { $_ }); unknown = $unknown }
}
ConvertTo-Json -InputObject @($found) -Depth 8 -Compress | Set-Content -LiteralPath $OutputPath -Encoding utf8

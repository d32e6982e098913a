# Reads [{name, text}] and writes, for each text, what PowerShell's own parser says of it: errors,
# the commands with their parameters, and every construct that Windows PowerShell 5.1 lacks.
param([string] $InputPath, [string] $OutputPath)

$newerTokens = 'QuestionDot', 'QuestionLBracket', 'QuestionQuestion', 'QuestionQuestionEquals', 'AndAnd', 'OrOr', 'QuestionMark'
$newerParameters = @{
    'ConvertFrom-Json' = @('AsHashtable', 'Depth', 'NoEnumerate'); 'ForEach-Object' = @('Parallel', 'ThrottleLimit')
    'Get-Date' = @('AsUTC', 'UnixTimeSeconds'); 'Invoke-WebRequest' = @('SkipHttpErrorCheck'); 'Select-String' = @('Raw')
    'Read-Host' = @('MaskInput'); 'Join-Path' = @('AdditionalChildPath'); 'Split-Path' = @('LeafBase', 'Extension')
    'ConvertTo-Json' = @('AsArray', 'EnumsAsStrings', 'EscapeHandling'); 'Sort-Object' = @('Stable')
}
Import-Module Microsoft.PowerShell.Utility, Microsoft.PowerShell.Management, Microsoft.PowerShell.Security
$PSModuleAutoLoadingPreference = 'None'  # a name that is nobody's would be looked for in every module
$commands = @{}
$found = foreach ($each in @(Get-Content -LiteralPath $InputPath -Raw | ConvertFrom-Json)) {
    $tokens = $null; $errors = $null
    $tree = [System.Management.Automation.Language.Parser]::ParseInput([string] $each.text, [ref] $tokens, [ref] $errors)
    $calls = [System.Collections.ArrayList]::new(); $newer = [System.Collections.ArrayList]::new(); $unknown = [System.Collections.ArrayList]::new()
    foreach ($token in $tokens) { if ($newerTokens -contains $token.Kind) { $null = $newer.Add([string] $token.Kind + ': ' + $token.Text) } }
    foreach ($node in $tree.FindAll({ $true }, $true)) {
        if ($node -is [System.Management.Automation.Language.TernaryExpressionAst] -or $node -is [System.Management.Automation.Language.PipelineChainAst]) { $null = $newer.Add($node.GetType().Name) }
        elseif (($node -is [System.Management.Automation.Language.MemberExpressionAst] -or $node -is [System.Management.Automation.Language.IndexExpressionAst]) -and $node.NullConditional) { $null = $newer.Add('null-conditional: ' + $node.Extent.Text) }
        if ($node -isnot [System.Management.Automation.Language.CommandAst]) { continue }
        $name = $node.GetCommandName(); $parameters = @(); $arguments = @()
        foreach ($element in $node.CommandElements) {
            if ($element -is [System.Management.Automation.Language.CommandParameterAst]) { $parameters += $element.ParameterName }
            else { $arguments += $element.Extent.Text }
        }
        $null = $calls.Add([pscustomobject]@{ name = $name; parameters = $parameters; arguments = @($arguments | Select-Object -Skip 1) })
        if (-not $name) { continue }
        if (-not $commands.ContainsKey($name)) { $commands[$name] = (Get-Command -Name $name -ErrorAction SilentlyContinue).Parameters }
        foreach ($one in $parameters) {
            if ($newerParameters[$name] -contains $one) { $null = $newer.Add($name + ' -' + $one) }
            if ($commands[$name] -and -not ($commands[$name].Keys -like ($one + '*'))) { $null = $unknown.Add($name + ' -' + $one) }
        }
    }
    [pscustomobject]@{ name = $each.name; errors = @($errors | ForEach-Object { $_.Message }); commands = $calls; newer = $newer; unknown = $unknown }
}
ConvertTo-Json -InputObject @($found) -Depth 8 -Compress | Set-Content -LiteralPath $OutputPath -Encoding utf8

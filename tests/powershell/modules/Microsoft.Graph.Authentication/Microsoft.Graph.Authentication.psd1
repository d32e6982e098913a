@{
    ModuleVersion     = '2.30.0'
    RootModule        = 'Microsoft.Graph.Authentication.psm1'
    GUID              = '6f0e1f2a-6c0f-4f0b-9c55-0d3c5f4a9e10'
    Author            = 'partner-tools'
    Description       = 'A stand-in for tests: asks a Graph at $env:STANDIN_GRAPH.'
    FunctionsToExport = 'Connect-MgGraph', 'Disconnect-MgGraph', 'Get-MgContext', 'Invoke-MgGraphRequest', 'Set-StandinSession'
}

"""Microsoft Graph in the customers' tenants: Autopilot, Intune and Entra ID as they behave."""

"""Who may use a server: accounts with passwords and API keys, signed-in browsers, and limits on wrong attempts."""

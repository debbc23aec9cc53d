"""The web console: two pages, the HTTP API behind them, and the guard in front of both.

Read `views` for what the pages say, `app` for where they are.
"""

"""The command line `amends`: a thin, friendly edge over REST, the store and the local servers.

Nothing is decided here. Each module holds the commands of one subject; `main` joins them.
"""

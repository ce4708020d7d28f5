"""`python -m mcp_server_vecsec`."""

from mcp_server_vecsec.command import main

if __name__ == "__main__":
    main()

"""OUT: scope to credential, handle to gone. One file for each kind of back end."""

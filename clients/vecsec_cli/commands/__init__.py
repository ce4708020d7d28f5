"""The commands of `vecsec`, a module each; those with parts of their own are folders beside this one."""

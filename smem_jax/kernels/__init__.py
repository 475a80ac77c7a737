"""One operation a folder: `api` is what others call, `base` says in plain jnp what it means."""

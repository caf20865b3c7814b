"""One Pandera contract per stored table, and the catalog of where and how each is stored."""

from zimage_cache.cli.main import serve

serve()

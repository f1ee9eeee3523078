from zimage_cache.cli import serve

serve()

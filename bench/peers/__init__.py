"""One streaming job, written once for each engine; ``bench/stream_peers.py`` runs and compares them."""

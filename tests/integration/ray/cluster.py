"""A Ray cluster of three nodes on this machine, one processor each; the two that can be killed have the resource `far`.

    python cluster.py               (in Ray's environment)

It writes the port of its job server, and then does what it reads: `kill NODE_ID`, `add`; it ends with its standard input.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"

from ray.cluster_utils import Cluster

_BYTES = 80 << 20
_TRIES = 4


def started() -> tuple[Cluster, int]:
    """A cluster with its head, and the port of its job server. Ray gives its parts half a minute, which a busy machine may not have."""
    for attempt in range(_TRIES):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        cluster = Cluster()
        try:
            cluster.add_node(num_cpus=1, include_dashboard=True, dashboard_port=port, object_store_memory=_BYTES)
        except Exception:
            cluster.shutdown()
            if attempt == _TRIES - 1:
                raise
        else:
            return cluster, port
    raise AssertionError


def far(cluster: Cluster) -> Any:
    """A node that can be killed."""
    return cluster.add_node(num_cpus=1, object_store_memory=_BYTES, resources={"far": 1})


def main() -> None:
    """Run the cluster."""
    cluster, port = started()
    nodes = [far(cluster) for _ in range(2)]
    print(json.dumps({"port": port}), flush=True)
    for line in sys.stdin:
        verb, *words = line.split()
        if verb == "kill":
            cluster.remove_node(next(node for node in nodes if node.node_id == words[0]), allow_graceful=False)
        else:
            nodes.append(far(cluster))
        print(json.dumps({"done": verb}), flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()

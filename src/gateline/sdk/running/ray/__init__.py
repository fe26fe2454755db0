"""Steps as jobs of a Ray cluster: `sending` is the runner's side, `worker` what runs on a node."""

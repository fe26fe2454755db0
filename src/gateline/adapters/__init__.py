"""One folder per outside technology. Only `gateline.app` brings adapters and domains together."""

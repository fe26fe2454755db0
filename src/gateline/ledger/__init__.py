"""The tamper-evident record of every change, and the transaction that writes it."""

from gateline.ledger.model import Checkpoint, Entry, Problem, Verification
from gateline.ledger.outbox import Handler, Outbox
from gateline.ledger.service import CHECKPOINT_TYPE, Ledger, Transaction
from gateline.ledger.signing import PublicKey, SigningKey
from gateline.ledger.verify import verify_records

__all__ = [
    "CHECKPOINT_TYPE", "Checkpoint", "Entry", "Handler", "Ledger", "Outbox", "Problem", "PublicKey", "SigningKey", "Transaction",
    "Verification", "verify_records",
]  # fmt: skip

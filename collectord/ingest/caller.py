"""Who has opened a stream, as far as he has said: where he came in, whose tenant he is, and from which purses he sends."""

from __future__ import annotations

from collections.abc import Sequence

from collectord.errors import CollectordError, TenantChanged, Unauthenticated
from collectord.ingest.gate import Gate
from collectord.ingest.purses import Purse
from collectord.ingest.validate import Refusal
from collectord.model import Reason, Schema, Stream
from collectord.tenants import ANYBODY, Tenant

NOBODYS = Purse("")
"""Of a stream that has not greeted."""


class Caller:
    """Belongs to the event loop."""

    __slots__ = ("_certificate", "_gate", "_token", "listener", "others", "purse", "tenant")

    def __init__(self, gate: Gate, listener: str, certificate: Sequence[str]) -> None:
        """`listener`: the address that he came to; `certificate`: the names in his."""
        self._gate = gate
        self._certificate = certificate
        self._token = b""
        """Its digest."""
        self.others: dict[bytes, Purse] = {}
        """Of schemas that are not paid for from `purse`; seldom any."""
        self.listener = listener
        self.tenant: Tenant = ANYBODY
        self.purse = NOBODYS

    def identify(self, token: str, webservice: str) -> None:
        """He says who he is, and the first service that he will send for. Raises Unauthenticated."""
        tenants = self._gate.tenants
        self._token = tenants.digest(token)
        self.tenant = tenants.who(self.listener, self._token, self._certificate)
        self.purse = self._purse_of(webservice)

    def identify_again(self) -> CollectordError | None:
        """Why he has to go, now that other tenants count; None if nothing has changed for him."""
        try:
            tenant = self._gate.tenants.who(self.listener, self._token, self._certificate)
        except Unauthenticated as error:
            return error
        same = tenant == self.tenant
        self.tenant = tenant
        return None if same else TenantChanged("what this client may do has changed; connect again")

    def why_refused(self, stream: Stream) -> Refusal | None:
        """Why rows of a stream are not taken from him; None if they are."""
        if not self._gate.rules.allows(stream):
            return Refusal(Reason.NOT_ALLOWED, "the daemon takes other streams only (collect_only)")
        why_not = self.tenant.why_not(stream)
        if why_not:
            return Refusal(Reason.NOT_ALLOWED, why_not)
        return self._why_unnamed(stream)

    def may_count(self, stream: Stream) -> bool:
        """Whether he may say of a stream what he has dropped."""
        return self.tenant.may_write(stream) and self._why_unnamed(stream) is None

    def sends(self, schema: Schema) -> None:
        """He has declared it."""
        purse = self._purse_of(schema.stream.webservice)
        if purse is not self.purse:
            self.others[schema.id] = purse

    def credit(self) -> int:
        return self._gate.credit(self.purse)

    def _why_unnamed(self, stream: Stream) -> Refusal | None:
        return self._gate.why_unnamed(stream, self._purse_of(stream.webservice))

    def _purse_of(self, webservice: str) -> Purse:
        return self._gate.purses.of(self.tenant, webservice, self._gate.clock.monotonic())

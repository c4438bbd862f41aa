"""From what a provider answered to one of our errors: one table, one place for the words and for what to do.

``message`` and ``fix`` are our own; the provider's words are quoted as such, and are also in ``provider_message``.
A plugin passes only what is special to its provider: codes that it defines.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Mapping
from typing import Any, Literal

import attrs

from ..errors import (
    AuthenticationFailed,
    BackendError,
    BackendUnavailable,
    BadBackendResponse,
    ContentRefused,
    Delivery,
    InvalidRequest,
    JobNotFound,
    MediaError,
    Problem,
    QuotaExceeded,
    RateLimited,
    SettingsError,
    UnknownContinuation,
    UnknownModel,
)
from ..media import without_query
from ..redaction import clean_text
from .envelopes import AnsweredError, read_error

ErrorKind = Literal[
    "content", "region", "verification", "billing", "rate", "auth", "overload", "model", "turn", "address", "invalid", "redirect", "broken"
]
#: A provider's own code -> the error that it means, or what it is about.
ErrorTable = Mapping[str, type[MediaError] | ErrorKind]

#: Codes in lower case without separators, as `AnsweredError.codes` gives them -> kind. The order of the kinds is that of their weight.
_BY_CODE: Mapping[ErrorKind, frozenset[str]] = {
    "content": frozenset({"safety", "imagesafety", "blocklist", "spii", "refusal", "contentrefused", "modelarmor", "sentinelblock"}),
    "region": frozenset({"unsupportedcountryregionterritory", "unsupportedregion", "unsupportedlocation", "regionnotsupported"}),
    "verification": frozenset({"organizationnotverified", "verificationrequired", "organizationverificationrequired"}),
    "billing": frozenset(
        {
            "insufficientquota", "billinghardlimitreached", "billingnotactive", "paymentrequired", "insufficientcredits",
            "insufficientfunds", "creditbalanceexhausted", "outofcredits", "billingdisabled", "spendlimitexceeded", "quotaexhausted",
            "budgetexceeded", "insufficientuserquota", "insufficientbalance", "notenoughcredits",
        }
    ),
    "rate": frozenset({"ratelimitexceeded", "ratelimited", "ratelimiterror", "toomanyrequests", "slowdown", "throttled", "429"}),
    "auth": frozenset(
        {
            "invalidapikey", "apikeyinvalid", "apikeyexpired", "unauthenticated", "unauthorized", "authenticationerror", "invalidtoken",
            "tokenexpired", "permissiondenied", "accesstokenexpired", "invalidauthentication", "authenticationfailed",
        }
    ),
    "overload": frozenset({"serverisoverloaded", "overloaded", "overloadederror", "modeloverloaded", "provideroverloaded"}),
    "turn": frozenset({"previousresponsenotfound", "previousinteractionnotfound"}),
    "model": frozenset({"modelnotfound", "unknownmodel", "invalidmodel", "modelnotavailable", "deploymentnotfound"}),
}  # fmt: skip
_BY_STATUS: Mapping[int, ErrorKind] = {
    401: "auth",
    402: "billing",
    403: "auth",
    408: "broken",
    429: "rate",
    451: "content",
    499: "broken",
    503: "overload",
    529: "overload",
}
#: Parts of codes that mean the same in any combination.
_CONTENT_CODE = re.compile(
    r"moderat(?:ion|ed)|contentpolicy|contentfilter|sensitive(?:content|info|word)|inspectionfail|illegaldetect|policyviolation|nsfw|recitation"
    r"|prohibitedcontent|violat\w{0,5}polic|safetyviolation|copyrightviolation|guardrail"
)
#: Codes of a request that was rejected, where no status says so.
_INVALID_CODE = re.compile(r"invalid|badrequest|validation|unsupported(?:parameter|value)|missing(?:required|parameter)|\w*usererror$")
_CONTENT = re.compile(
    r"safety (?:system|filter|check)|content[ _]?(?:polic|filter|management policy|moderation)|responsible ai|guardrail|nsfw"
    r"|inappropriate content|usage (?:guidelines|polic)|content (?:was )?blocked|flagged (?:as|by|for)|third-party content"
    r"|(?:prohibited|banned|sensitive|illegal|unsafe)[ _](?:content|use|words?|info|prompt|text)"
    r"|(?:rejected|blocked|refused) by (?:our |the )?(?:moderation|safety)|\u654f\u611f|\u8fdd\u89c4|\u4e0d\u5b89\u5168",
    re.IGNORECASE,
)
_REGION = re.compile(
    r"(?:not|isn't) (?:currently )?(?:available|supported) (?:in|from|for) (?:your|this|the) (?:country|region|location|territory)"
    r"|(?:country|region|territory|location)(?:, [a-z ,]{0,40})? (?:is )?not supported|unsupported (?:country|region|location)",
    re.IGNORECASE,
)
_AUTH = re.compile(
    r"(?:incorrect|invalid|missing|expired|no|wrong) api.?key|api.?key (?:is )?(?:not valid|invalid|missing|expired)", re.IGNORECASE
)
_BILLING = re.compile(
    r"(?:quota|credits?|balance|funds?) (?:is |are )?(?:not enough|insufficient|depleted|used up)|budget (?:has been |was |is )?exceeded"
    r"|(?:insufficient|not enough|out of|exhausted|exceeded (?:your|the)) (?:account |user |prepaid )?(?:credits?|balance|funds?|budget)",
    re.IGNORECASE,
)
_VERIFICATION = re.compile(r"organi[sz]ation must be verified|verify (?:your )?organi[sz]ation|must be verified to use", re.IGNORECASE)
_MODEL = re.compile(
    r"\bmodels?\b[^.]{0,80}(?:not found|does not exist|doesn't exist|not available|unknown)|(?:no such|unknown) model", re.IGNORECASE
)
_NO_ACCESS = re.compile(
    r"access to (?:the |this )?model|(?:permission|authorized|permitted|allowed|entitled) (?:to|for) (?:use |access )?(?:the |this )?model",
    re.IGNORECASE,
)
#: What web servers say of a path that they do not have; an API that is there names what it misses.
_NO_ROUTE = re.compile(
    r"\W*(?:(?:error|http)?\W*40[45]\W*)*(?:page |path |route |url |resource |endpoint |file )?"
    r"(?:not found|method not allowed|(?:not found\W+)?route .{0,200} not found"
    r"|no (?:such )?route.{0,60}|cannot (?:get|post|put|delete) /.{0,200}|invalid url.{0,200}"
    r"|40[45] page not found|the requested url .{0,200})?\W*",
    re.IGNORECASE,
)
_API = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?(?:/|$)")


def own_meaning(error: AnsweredError, by_code: ErrorTable | None) -> type[MediaError] | ErrorKind | None:
    """Return what a provider's own table says of an error's codes, statuses aside; None where it says nothing."""
    own = {re.sub(r"[^a-z0-9]", "", code.lower()): meaning for code, meaning in (by_code or {}).items() if not code.isdigit()}
    return next((own[code] for code in reversed(error.labels) if code in own), None)  # the innermost says most


def error_of_class(
    named: type[MediaError], found: AnsweredError, status: int | None, wait: float | None = None, delivery: Delivery | None = None
) -> MediaError:
    """Return an error of a class, with the provider's words; by default it was refused, except by a server that broke down."""
    text = f"the provider refused the request; {found.quoted or (f'HTTP {status}, without a reason' if status else 'without a reason')}"
    error = named(text)
    error.provider_message = found.text
    if isinstance(error, BackendError):
        error.delivery = delivery or ("refused" if status is None or status < 500 else "unknown")
        error.status, error.retry_after = status, wait
    return error


def classify(error: AnsweredError, status: int | None) -> ErrorKind:
    """Return what an answered error is about.

    Args:
        error: as `read_error` gave it.
        status: of the HTTP answer; None for an error object in an answer without one, such as a job that failed.
    """
    known = set(error.codes)
    moderated = any(_CONTENT_CODE.search(code) for code in known)
    by_known = "content" if moderated else next((kind for kind, codes in _BY_CODE.items() if known & codes), None)
    number = status if status is not None and status >= 300 else error.status
    client_error = number is None or 400 <= number < 500
    if by_known == "content" or (error.reasons and client_error and number not in {401, 402, 404, 429}):
        return "content"
    if client_error and (number is None or number in {400, 403, 404, 451}):
        for kind, pattern in (
            ("region", _REGION),
            ("verification", _VERIFICATION),
            ("billing", _BILLING),
            ("model", _NO_ACCESS),
            ("auth", _AUTH),
        ):
            if pattern.search(error.text):
                return kind  # type: ignore[return-value]
    if number == 429 and by_known in {None, "rate"} and _BILLING.search(error.text):
        return "billing"
    if by_known is not None:
        return by_known
    return _by_number(error, number)


def _by_number(error: AnsweredError, number: int | None) -> ErrorKind:
    if number is not None and 300 <= number < 400:
        return "redirect"
    if number in {None, 400, 403, 422} and _CONTENT.search(error.text):
        return "content"
    if number is not None and number in _BY_STATUS:
        return _BY_STATUS[number]
    if number in {404, 405, 410}:
        if _MODEL.search(error.text) or error.param == "model":
            return "model"
        return "address" if error.form in {"html", "empty"} or _NO_ROUTE.fullmatch(error.text) else "model" if number != 405 else "address"
    if number is None and any(_INVALID_CODE.match(code) for code in error.codes):
        return "invalid"
    if number is None or number >= 500:
        return "broken"
    return "model" if error.param == "model" else "invalid"


def error_from(
    body: Any,
    *,
    who: str,
    status: int | None = None,
    base_url: str = "",
    own_address: bool = False,
    by_code: ErrorTable | None = None,
    kind: ErrorKind | None = None,
    request_id: str | None = None,
    retry_after: float | None = None,
    delivery: Delivery | None = None,
    about: Literal["request", "job"] = "request",
) -> MediaError:
    """Return our error for an answer that is one.

    Args:
        body: of the answer: bytes, text, decoded JSON, an SDK's object, or what `read_error` gave.
        who: backend and model as our messages name them, ``'openai/gpt-image-2'``.
        status: of the HTTP answer, where there was one.
        base_url: the address that the request went to; named where it seems wrong.
        own_address: whether that address is the provider's default, which is not wrong.
        by_code: the provider's own codes.
        kind: what the error is about, if the plugin knows it from another source.
        request_id: the provider's id of the exchange.
        retry_after: seconds that the provider asked to wait.
        delivery: what is known from another source (a documented billing rule); by default ``refused`` for a rejection and None,
            not known, for a server that broke down.
        about: ``job`` for a status check, in which 404 and 410 mean that the provider does not know the job. Without the API's own
            envelope (a web page, a text, an empty body) they mean nothing: a proxy may have answered.

    Returns:
        The error, with ``provider_message`` set to the provider's own words (an empty string where there are none).
    """
    found = body if isinstance(body, AnsweredError) else read_error(body)
    if status is not None and status >= 400:
        found = attrs.evolve(found, text=found.text or found.whole)
    meaning = kind or own_meaning(found, by_code)
    if isinstance(meaning, type):
        return error_of_class(meaning, found, status, retry_after, delivery)
    kind = meaning or classify(found, status)
    if kind == "address" and own_address:
        kind = "model"
    if found.form == "html" and (status is None or status < 400):
        kind = "address"
    known = _Known(found, who, status, base_url, request_id, delivery)
    missing = about == "job" and (kind in {"model", "address"} and status in {404, 405, 410})
    error = known.error(kind) if not missing else known.unknown_job() if found.form == "json" else known.error("broken")
    error.provider_message = found.text
    if isinstance(error, BackendError):
        error.status = status if status is not None and status >= 300 else found.status or status
        error.retry_after = retry_after if isinstance(error, RateLimited | BackendUnavailable | JobNotFound) else None
    return error


@attrs.frozen
class _Known:
    found: AnsweredError
    who: str
    status: int | None
    base_url: str
    request_id: str | None
    delivery: Delivery | None

    def error(self, kind: ErrorKind) -> MediaError:
        """Return the error of a kind."""
        refused: dict[str, Any] = {"request_id": self.request_id, "delivery": self.delivery or "refused"}
        who = self.who
        if kind == "content":
            fix = "change the prompt or the inputs; the same request will be refused again"
            reason = ", ".join(self.found.reasons) or self.found.code or "content policy"
            what = {"input": "the prompt or an input", "output": "what was generated"}.get(self.found.stage, "the request")
            said = self._said(f"the safety system of {who} refused {what}")
            return ContentRefused(said, reason=clean_text(reason, 120), fix=fix, **refused)
        if kind == "region":
            fix = "use another backend, or run where the provider offers the service; the key itself may be right"
            return BackendError(self._said(f"{who} does not serve the country or region that the request came from"), fix=fix, **refused)
        if kind == "verification":
            fix = "verify the organization in the settings of the provider's account (it may take some minutes), or use another model"
            unverified = AuthenticationFailed(self._said(f"{who} needs a verified organization for this model"), fix=fix, **refused)
            unverified.model_refused = True
            return unverified
        if kind == "auth":
            fix = "check the key and what it may do"
            return AuthenticationFailed(self._said(f"{who} does not accept the key for this request"), fix=fix, **refused)
        if kind == "billing":
            fix = "top up the account or raise its limit; waiting does not help"
            return QuotaExceeded(self._said(f"the account for {who} has no money or quota left"), fix=fix, **refused)
        if kind == "rate":
            return RateLimited(self._said(f"{who} limits the rate of requests"), **refused)
        if kind == "model":
            fix = "list the models that are served: anymedia models --refresh"
            return UnknownModel(self._said(f"{who} does not serve this model, or not for this request"), fix=fix)
        if kind == "turn":
            fix = "give the earlier file as an input instead"
            return UnknownContinuation(self._said(f"{who} does not know the earlier turn any more"), fix=fix)
        if kind == "address":
            return self._wrong_address()
        if kind == "invalid":
            where = f"$.{self.found.param}" if self.found.param else "$"
            fix = "correct what the provider's message names, or use another model"
            return InvalidRequest([Problem(where, self._said(f"{who} rejected the request"))], fix=fix)
        if kind == "redirect":
            fix = "correct base_url; neither the request nor the key was sent on"
            return BadBackendResponse(self._said(f"the address of {who} redirects elsewhere"), fix=fix, **refused)
        is_overload = kind == "overload" and self.found.form == "json"
        said = self._said(f"{who} is overloaded" if is_overload else f"{who} failed")
        return BackendUnavailable(said, request_id=self.request_id, delivery=self.delivery)

    def unknown_job(self) -> MediaError:
        """Return the error for a job that the provider does not find."""
        return JobNotFound(self._said(f"{self.who} does not know the job"), request_id=self.request_id)

    def _wrong_address(self) -> MediaError:
        shown = without_query(self.base_url) if self.base_url else "the address in base_url"
        what = "answered with a web page" if self.found.form == "html" else "has no such path"
        text = self._said(f"base_url seems to be wrong: {shown} {what}" + (f" (HTTP {self.status})" if self.status else ""))
        fix = _address_fix(self.base_url)
        if self.status is not None and self.status < 400:  # a proxy may have answered instead, after the request arrived
            error = BadBackendResponse(text, fix=fix, request_id=self.request_id, delivery=self.delivery or "unknown")
            error.charged = "unknown"
            return error
        return SettingsError(text, fix=fix)

    def _said(self, text: str) -> str:
        if self.found.quoted:
            return f"{text}; {self.found.quoted}"
        return text if self.status is None else f"{text} (HTTP {self.status}, without a reason)"


def _address_fix(base_url: str) -> str:
    """Say what to set; most services answer under ``/v1``."""
    try:
        path = urllib.parse.urlsplit(base_url).path
    except ValueError:
        path = ""
    shown = without_query(base_url).rstrip("/") if base_url else ""
    if shown and not _API.search(path):
        return f"set base_url to the API's address; most services answer under /v1: base_url = '{shown}/v1'"
    return "set base_url to the address of the API (with its version, such as /v1), not of its web page"

"""Loading of credentials: errors that name the file, the reason and what to do."""

import json
from pathlib import Path

import pytest

from exporter.config import CloudSql
from exporter.googleapis import CredentialsError, GoogleApis
from tests.googleapis.helpers import TIMEOUT, ignore, retrying

UNUSABLE = {
    "missing": (None, "No such file or directory", "was not found"),
    "folder": ("", "Is a directory", "Is a directory"),
    "not JSON": ("{", "Expecting property name", "is not a valid json file"),
    "not an object": ("[]", "it is not a credentials file", "it is not a credentials file"),
    "no type": ("{}", "missing fields", "does not have a valid type. Type is None"),
    "wrong type": ('{"type": "secret"}', "missing fields", "does not have a valid type. Type is secret"),
    "no key": (json.dumps({"type": "service_account"}), "missing fields", "missing fields"),
    "broken key": (
        json.dumps(
            {
                "type": "service_account",
                "client_email": "a",
                "token_uri": "b",
                "private_key": "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----",
            }
        ),
        "",
        "",
    ),
}


def load_error(credentials: object) -> str:
    settings = CloudSql.model_validate({"credentials": credentials})
    with pytest.raises(CredentialsError) as raised:
        GoogleApis(settings, TIMEOUT, 8, retrying(), ignore)
    assert len(str(raised.value).splitlines()) == 1
    assert "c2VjcmV0" not in str(raised.value)
    return str(raised.value)


def unusable_file(folder: Path, content: str | None) -> Path:
    file = folder / "key.json"
    if content == "":
        file.mkdir()
    elif content is not None:
        file.write_text(content)
    return file


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_key_file_is_reported_with_reason_and_key(tmp_path: Path, case: str) -> None:
    content, reason, _ = UNUSABLE[case]
    file = unusable_file(tmp_path, content)
    error = load_error({"file": str(file)})
    assert error.startswith(f"credentials file {file} cannot be used: ")
    assert reason in error
    assert "; check cloudsql.credentials.file: it must be a service account key" in error


@pytest.mark.parametrize("case", UNUSABLE)
@pytest.mark.parametrize("credentials", ["adc", {"impersonate": "sa@shop.iam.gserviceaccount.com"}])
def test_unusable_default_credentials_are_reported_with_reason_and_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, credentials: object, case: str
) -> None:
    content, _, reason = UNUSABLE[case]
    file = unusable_file(tmp_path, content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    error = load_error(credentials)
    assert error.startswith("the application default credentials cannot be used: ")
    assert reason in error
    assert f"; check {file}, the file of GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth" in error


def test_missing_default_credentials_are_reported_with_advice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setattr("google.auth.compute_engine._metadata.is_on_gce", lambda request: False)  # noqa: ARG005
    assert load_error("adc").startswith(
        "no application default credentials were found; run `gcloud auth application-default login`, attach a service "
        "account to this workload, or set cloudsql.credentials to {file: key.json}"
    )

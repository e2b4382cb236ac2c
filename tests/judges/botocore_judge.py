"""Answers which credentials botocore, and with it the AWS CLI, takes in a world: an environment, with files on disk.

Each line of standard input is a JSON object of variables; each line of the answer is an object with the access key id in `key`,
or with the reason in `error`; both are absent where botocore finds no credentials.

The requests of roles and sign-ins are not sent: their answers spell out the request, as the tests in suite/judges.rs do.
Containers and instances are asked over HTTP; the argument is the host and port that answers for the fixed addresses of AWS.
"""

import base64
import getpass
import http.client
import json
import os
import sys
import urllib.parse
from datetime import datetime, timedelta, timezone


def refuse(_prompt):
    raise RuntimeError("it asks for the code of an MFA device")


# Before botocore takes a reference to it.
getpass.getpass = refuse

import botocore.credentials
import botocore.exceptions
import botocore.httpsession
import botocore.loaders
import botocore.session
import botocore.tokens
import botocore.utils

LATER = datetime.now(timezone.utc) + timedelta(hours=1)
FIXED = sys.argv[1]
LOADER = botocore.loaders.Loader()


def name(arn):
    return arn.rsplit("/", 1)[-1]


class Sts:
    def __init__(self, caller):
        self.caller = caller

    def assume_role(self, RoleArn, ExternalId="none", **_):
        return self.answer(f"R-{name(RoleArn)}-{ExternalId}-by-{self.caller}")

    def assume_role_with_web_identity(self, RoleArn, WebIdentityToken, **_):
        if not WebIdentityToken:
            raise RuntimeError("STS refuses an empty token")
        return self.answer(f"W-{name(RoleArn)}-{subject(WebIdentityToken)}")

    @staticmethod
    def answer(key):
        return {
            "Credentials": {"AccessKeyId": key, "SecretAccessKey": "s", "SessionToken": "t", "Expiration": LATER},
            "AssumedRoleUser": {"Arn": "arn:aws:sts::111122223333:assumed-role/r/s", "AssumedRoleId": "i"},
        }


class Sso:
    class exceptions:
        class UnauthorizedException(Exception):
            pass

    @staticmethod
    def get_role_credentials(roleName, accountId, accessToken):
        key = f"S-{accountId}-{roleName}-{accessToken}"
        expiration = int(LATER.timestamp() * 1000)
        return {
            "roleCredentials": {"accessKeyId": key, "secretAccessKey": "s", "sessionToken": "t", "expiration": expiration}
        }


def subject(token):
    """What of a token decides: the subject, for tests that give other tokens to the same subject."""
    try:
        payload = token.split(".")[1]
        return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
    except Exception:
        return token


class Http:
    """Asks containers and instances, without the certificates that botocore's own session reads for each world."""

    def __init__(self, timeout=None, **_):
        self.timeout = timeout

    def send(self, request):
        url = urllib.parse.urlsplit(request.url)
        is_fixed = url.hostname in ("169.254.169.254", "169.254.170.2", "fd00:ec2::254")
        connection = http.client.HTTPConnection(FIXED if is_fixed else url.netloc, timeout=self.timeout)
        try:
            path = urllib.parse.urlunsplit(("", "", url.path or "/", url.query, ""))
            connection.request(request.method, path, headers={"Host": url.netloc, **request.headers})
            return Answer(request.url, connection.getresponse())
        except TimeoutError as error:
            raise botocore.exceptions.ReadTimeoutError(endpoint_url=request.url, error=error)
        except OSError as error:
            raise botocore.exceptions.EndpointConnectionError(endpoint_url=request.url, error=error)
        finally:
            connection.close()


class Answer:
    def __init__(self, url, response):
        self.url = url
        self.status_code = response.status
        self.headers = response.headers
        self.content = response.read()
        self.text = self.content.decode()


class Session(botocore.session.Session):
    def create_client(self, service_name, *args, aws_access_key_id=None, **kwargs):
        return Sso() if service_name == "sso" else Sts(aws_access_key_id)


def judge(variables):
    os.environ.clear()
    os.environ.update(variables)
    home = os.path.expanduser("~")
    sso_cache = os.path.join(home, ".aws", "sso", "cache")
    botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR = sso_cache
    botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR = sso_cache
    # The handlers of operations take ten times as long to register as the rest, and decide nothing here.
    session = Session(include_builtin_handlers=False)
    session.register_component("data_loader", LOADER)
    credentials = session.get_credentials()
    if credentials is None:
        return {}
    return {"key": credentials.get_frozen_credentials().access_key}


def main():
    # The processes of worlds may not read from the standard input of this one.
    worlds = os.fdopen(os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    botocore.httpsession.URLLib3Session = Http
    # A library that renews the sessions of `aws login`, which those of worlds do not need.
    botocore.credentials.EC = True
    # It waits a second before it asks a container again.
    botocore.utils.ContainerMetadataFetcher.SLEEP_TIME = 0
    botocore.credentials.create_nested_client = Session.create_client
    for line in worlds:
        try:
            answer = judge(json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


main()

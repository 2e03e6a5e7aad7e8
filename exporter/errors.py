"""Errors that are shown to the user as a message, without a traceback, and the exit codes of the program.

UserError
├── ConfigError         config/document.py          exit code 2
│   └── WebConfigError  web/config/load.py          exit code 2
├── CredentialsError    googleapis/credentials.py   exit code 1; 3 from `status` and `once`
├── ListenError         web/listeners.py            exit code 1
├── SavedStateError     state/reader.py             exit code 1
├── StateInUseError     state/sqlite.py             exit code 1
└── UnhealthyError      cli/healthcheck.py          exit code 1
"""

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes; docs/commands.md lists them per command."""

    OK = 0
    FAILURE = 1  # a fatal error; from `status`: an instance is neither protected nor exempt
    BAD_CONFIGURATION = 2  # also a bad flag, as argparse has it
    UNREADABLE = 3  # a project could not be read


class UserError(Exception):
    """Base class. The text says what is wrong and what to do about it; each line of it is a message."""

    exit_code = ExitCode.FAILURE

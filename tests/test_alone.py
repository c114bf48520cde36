"""A crash of a program that runs alone is a failure with its reason; its children do not outlive it."""

import pytest

from tests.alone import run_alone


def test_what_it_prints_comes_back():
    assert run_alone("import os; print(os.environ['WORD'])", environment={"WORD": "here"}) == "here\n"


def test_a_crash_is_a_failure_that_names_the_signal_and_the_place():
    program = "def at_fault():\n    import ctypes; ctypes.string_at(0)\nat_fault()"
    with pytest.raises(AssertionError, match=r"(?s)killed by SIGSEGV.*at_fault"):
        run_alone(program)


def test_an_exception_is_a_failure_with_its_words():
    with pytest.raises(AssertionError, match=r"(?s)exit code 1.*ValueError: reason"):
        run_alone("raise ValueError('reason')")


def test_a_warning_is_an_error_unless_the_test_says_otherwise():
    program = "import warnings; warnings.warn('soon'); print('ended')"
    with pytest.raises(AssertionError, match="UserWarning: soon"):
        run_alone(program)
    assert run_alone(program, warnings="ignore") == "ended\n"

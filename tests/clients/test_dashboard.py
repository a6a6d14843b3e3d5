# SPDX-License-Identifier: Apache-2.0
"""The dashboard in a real browser, against a cloud in one process. Screenshots are kept with the run's artefacts."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select, WebDriverWait

from commandline import OpenStack, wait
from servers import die_with_parent, free_port

ARTIFACTS = Path(os.environ.get("ARTIFACTS", "artifacts")).resolve() / "dashboard"


@pytest.fixture(scope="module")
def site(clouds_yaml: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The dashboard's address."""
    folder, port = tmp_path_factory.mktemp("dashboard"), free_port()
    auth_url = yaml.safe_load(clouds_yaml.read_text())["clouds"]["aerie"]["auth"]["auth_url"]
    (folder / "dashboard.conf").write_text(
        f"[api]\nlisten = 127.0.0.1\nport = {port}\n[keystone_authtoken]\nauth_url = {auth_url}\n"
        "[dashboard]\nsecret_key = test\n"
    )
    command = [str(Path(sys.executable).with_name("aerie")), "run", "dashboard", "--config-dir", str(folder)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, preexec_fn=die_with_parent)
    try:
        wait("the dashboard listens", lambda: answers(f"http://127.0.0.1:{port}/healthcheck"))
        yield f"http://127.0.0.1:{port}"
        assert "Traceback" not in (folder / "log").read_text()
    finally:
        process.terminate()
        process.wait(20)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=30):
            return True
    except OSError:
        return False


class Browser(webdriver.Chrome):
    """Headless Chromium that talks to nobody but the site."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = "/usr/bin/chromium"
        for argument in (
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
            "--window-size=1280,860", f"--user-data-dir={profile}",
        ):  # fmt: skip
            options.add_argument(argument)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        super().__init__(options, webdriver.ChromeService("/usr/bin/chromedriver"))

    def text(self) -> str:
        """What the page says; nothing while it is being replaced."""
        return str(self.execute_script("return document.body ? document.body.innerText : ''"))

    def click(self, label: str, *, leaves: bool = True) -> None:
        """A link or button by its words; then wait for the page it leads to, unless it leads to none."""
        self.execute_script("window.left = true")
        self.find_element(By.XPATH, f"//a[normalize-space()='{label}'] | //button[normalize-space()='{label}']").click()
        if leaves:
            come = "return !window.left && document.readyState === 'complete'"
            WebDriverWait(self, 15).until(lambda _: self.execute_script(come))

    def shot(self, name: str) -> None:
        ARTIFACTS.mkdir(parents=True, exist_ok=True)
        self.save_screenshot(str(ARTIFACTS / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the page complained of, e.g. a violated content security policy."""
        return [
            e["message"] for e in self.get_log("browser") if e["level"] == "SEVERE" and "favicon" not in e["message"]
        ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    made = Browser(tmp_path_factory.mktemp("chromium"))
    yield made
    made.quit()


def log_in(browser: Browser, site: str, user: str = "demo", password: str = "secret", path: str = "/") -> None:
    browser.get(f"{site}/login?next={path}")
    browser.find_element(By.ID, "user").clear()
    browser.find_element(By.ID, "user").send_keys(user)
    browser.find_element(By.ID, "password").send_keys(password)
    browser.click("Log in")
    wait("the answer to the login", lambda: "/login?" not in browser.current_url)


def test_a_wrong_password_is_refused_and_leaves_no_session(browser: Browser, site: str) -> None:
    browser.get(site)
    assert "/login" in browser.current_url
    browser.shot("login")
    log_in(browser, site, password="wrong")
    assert "User or password is wrong." in browser.text()
    browser.get(f"{site}/servers")
    assert "/login" in browser.current_url and browser.get_cookie("sessionid") is None


def test_login_leads_nowhere_else(browser: Browser, site: str) -> None:
    log_in(browser, site, path="//evil.example/")
    assert browser.current_url == f"{site}/"


def test_overview_shows_quotas(browser: Browser, site: str) -> None:
    log_in(browser, site)
    assert "Servers" in browser.text() and "of 10" in browser.text()
    browser.shot("overview")


@pytest.mark.parametrize(
    ("section", "word"),
    [
        ("images", "aerie-guest"),
        ("flavors", "std-tiny-1"),
        ("networks", "private"),
        ("zones", "Zones"),
        ("keypairs", "Key pairs"),
        ("floating_ips", "Floating IPs"),
        ("security_groups", "default"),
    ],
)
def test_lists(browser: Browser, site: str, section: str, word: str) -> None:
    browser.complaints()  # those of earlier pages
    browser.get(f"{site}/{section}")
    assert word in browser.text()
    browser.shot(section)
    assert browser.complaints() == []


def test_a_server_is_made_looked_at_and_deleted(browser: Browser, site: str, demo: OpenStack) -> None:
    browser.get(f"{site}/servers")
    browser.click("New server")
    browser.find_element(By.ID, "name").send_keys("d-one")
    Select(browser.find_element(By.ID, "image")).select_by_visible_text("aerie-guest")
    browser.shot("new-server")
    browser.click("Make the server")
    wait("its page shows it ACTIVE by itself", lambda: "ACTIVE" in browser.text())
    browser.shot("server")
    browser.click("Log")
    assert browser.find_element(By.ID, "log").text.strip()
    browser.shot("log")
    browser.click("Events")
    wait("the story", lambda: "create" in browser.text() and "req-" in browser.text())
    browser.click("Console")
    assert "token%3D" in str(browser.find_element(By.TAG_NAME, "iframe").get_attribute("src"))
    browser.get(f"{site}/servers")
    assert "d-one" in browser.text()
    browser.shot("servers")
    browser.click("Stop")
    wait("SHUTOFF shows by itself", lambda: "SHUTOFF" in browser.text())
    browser.get(f"{site}/servers")
    browser.click("Delete", leaves=False)
    browser.switch_to.alert.accept()
    wait("the row is gone", lambda: "d-one" not in browser.text())


def test_a_refusal_says_why(browser: Browser, site: str) -> None:
    browser.get(f"{site}/servers/00000000-0000-0000-0000-000000000000")
    assert "could not be found" in browser.text() and "req-" in browser.text()


def test_names_cannot_carry_scripts(browser: Browser, site: str, demo: OpenStack) -> None:
    demo("network", "create", "<script>document.title='owned'</script><b>x")
    browser.get(f"{site}/networks")
    assert "<b>x" in browser.text() and browser.title != "owned"
    demo("network", "delete", "<script>document.title='owned'</script><b>x")


def test_logging_out_ends_the_token(browser: Browser, site: str) -> None:
    browser.get(site)
    browser.click("Log out")
    wait("the login page", lambda: "/login" in browser.current_url)
    browser.get(f"{site}/servers")
    assert "/login" in browser.current_url


def test_security_headers_and_forged_posts(site: str) -> None:
    with urllib.request.urlopen(f"{site}/login", timeout=60) as reply:
        policy = reply.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{site}/login", data=b"user=demo&password=secret", timeout=60)
    assert refused.value.code == 403

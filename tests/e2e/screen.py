# SPDX-License-Identifier: Apache-2.0
"""Opens a console's page in headless Chromium and tells how many colours the guest's screen shows: `screen.py URL PNG`.

Run on the stack's own host (see test_guests.py), where the address in the URL is reachable.
"""

import sys
import tempfile
import time

from selenium import webdriver

COLOURS = """
const canvas = document.querySelector("canvas");
if (!canvas || !canvas.width) return 0;
const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
const seen = new Set();
for (let i = 0; i < data.length; i += 4) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
return seen.size;
"""

options = webdriver.ChromeOptions()
options.binary_location = "/usr/bin/chromium"
for argument in (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", f"--user-data-dir={tempfile.mkdtemp()}",
):  # fmt: skip
    options.add_argument(argument)
browser = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
try:
    browser.get(sys.argv[1])
    end = time.monotonic() + 30
    while (colours := browser.execute_script(COLOURS)) < 2 and time.monotonic() < end:
        time.sleep(0.3)
    browser.save_screenshot(sys.argv[2])
finally:
    browser.quit()
print(colours)

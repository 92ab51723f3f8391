// Starts the Chromium of the system for the scripts beside this file.
import { chromium } from "playwright-core";

export const desktop = { width: 1440, height: 900 };
export const phone = { width: 390, height: 844 };

/** Opens a browser that talks to nobody but the pages it is sent to. CHROMIUM names another binary. */
export const launch = () =>
  chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-background-networking", "--disable-component-update", "--no-first-run"],
  });

/** A fresh profile of one language and size. Certificates are not checked: a demo signs its own. */
export const profile = (browser, { size = desktop, locale = "en", dark = false } = {}) =>
  browser.newContext({ viewport: size, locale, colorScheme: dark ? "dark" : "light", ignoreHTTPSErrors: true, isMobile: size === phone, hasTouch: size === phone, reducedMotion: "reduce" });

// Being asked to sign in is no fault; nor is a network that comes and goes below the page, which mends itself.
const expected = /status of 401|net::ERR_(NETWORK_CHANGED|CONNECTION_REFUSED|CONNECTION_RESET|INCOMPLETE_CHUNKED_ENCODING|EMPTY_RESPONSE)/;

/** Collects what a page complains about: exceptions, failed scripts, breaches of the content policy. */
export function complaints(page, list = []) {
  page.on("pageerror", (error) => list.push(`exception: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error" && !expected.test(message.text())) list.push(`console: ${message.text()}`);
  });
  return list;
}

// Walks the way that a support agent and a customer walk together, in two real browser profiles: sign
// in, find the customer by phone, read the timeline and ask why, ask for a remote session, answer it in
// the inbox, watch the diagnosis stream in from the device, and end the session.
//
//	HEARTH_URL=http://127.0.0.1:8080 HEARTH_STAFF=admin HEARTH_PASSWORD=… HEARTH_PHONE=+49… \
//	HEARTH_INBOX=http://127.0.0.1:8080/inbox#TOKEN HEARTH_SHOTS=FOLDER node e2e/session.mjs
//
// HEARTH_ANSWER   what the customer answers: given (default) or refused
// HEARTH_END      who ends a session that was agreed to: staff (default) or customer
// HEARTH_TICKET   "no" when no open ticket is to be seen; default is that there is one
// HEARTH_LOCALE   language of both browsers; default en
// HEARTH_SECONDS  patience for the whole walk; default 60
// CHROMIUM        the browser's binary
//
// Prints one line for each step that was seen, and leaves console.png and inbox.png in the folder. Exits
// 0 when every step was seen; otherwise prints one line with what was not, leaves failure.png, exits 1.
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { complaints, desktop, launch, phone, profile } from "./browser.mjs";

const env = (name, fallback) => {
  const value = process.env[name] ?? fallback;
  if (value === undefined) {
    console.log(`not seen: ${name} is not set`);
    process.exit(1);
  }
  return value;
};
const url = env("HEARTH_URL");
const shots = env("HEARTH_SHOTS", ".");
const answer = env("HEARTH_ANSWER", "given");
const deadline = Date.now() + Number(env("HEARTH_SECONDS", "60")) * 1000;
const left = () => Math.max(1, deadline - Date.now());

let at = "the browser starts"; // what is waited for, for the line that says what was not seen

/** Waits for one thing, and says so when it was seen. `act` may return words to add. */
async function see(what, act) {
  at = what;
  const from = Date.now();
  const more = await act();
  console.log(`${what}${more ? `: ${more}` : ""} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
}

const shown = (locator) => locator.first().waitFor({ timeout: left() });
const click = (locator) => locator.first().click({ timeout: left() });
const picture = (page, name) => page.screenshot({ path: join(shots, name) });

async function signIn(page) {
  await page.goto(url, { timeout: left() });
  await page.locator("input[name=username]").fill(env("HEARTH_STAFF"), { timeout: left() });
  await page.locator("input[name=password]").fill(env("HEARTH_PASSWORD"));
  await click(page.locator("button[type=submit]"));
  await shown(page.locator("#main, form [role=alert]"));
  const refused = page.locator("form [role=alert]");
  if ((await refused.count()) > 0) throw new Error((await refused.textContent()).trim());
}

async function find(page) {
  await page.locator("#main input").first().fill(env("HEARTH_PHONE"), { timeout: left() });
  await click(page.locator('#results a[href^="/customers/"]'));
  await page.waitForURL("**/customers/**", { timeout: left() });
  await shown(page.locator("[data-customer]"));
  return page.locator("[data-customer]").textContent();
}

async function readTimeline(page) {
  await shown(page.locator("[data-entry]"));
  if (env("HEARTH_TICKET", "yes") === "yes") {
    await shown(page.locator("[data-ticket]"));
    await shown(page.locator('[data-kind="ticket.opened"]'));
  }
  const rows = await page.locator("[data-entry]").count();
  const why = page.locator('[data-kind="ticket.opened"] button, [data-kind="fix.verified"] button').first();
  if ((await why.count()) === 0) return `${rows} entries`;
  await click(why);
  await shown(page.locator('[id^="why-"] li'));
  const causes = await page.locator('[id^="why-"] [data-cause]').count();
  return `${rows} entries, the newest matter explained by ${causes} causes`;
}

async function ask(page) {
  await page.locator('[data-action="session"]:not([disabled])').click({ timeout: left() });
  await shown(page.locator('[data-stage="asked"]'));
}

async function reply(inbox) {
  await inbox.goto(env("HEARTH_INBOX"), { timeout: left() });
  const button = inbox.locator(`[data-consent] [data-answer="${answer}"]`);
  await shown(button);
  await picture(inbox, "inbox.png");
  await click(button);
  await inbox.locator("[data-consent]").first().waitFor({ state: "detached", timeout: left() });
  return answer;
}

async function diagnosed(page) {
  const run = page.locator('[data-run="connection"]').last();
  await run.locator("li[data-status]").first().waitFor({ timeout: left() });
  await page.locator('[data-run="connection"][data-done="true"]').first().waitFor({ timeout: left() });
  const steps = await run.locator("li[data-status]").count();
  const verdict = await run.locator("[data-verdict]").first();
  return `${steps} steps, verdict ${await verdict.getAttribute("data-verdict")}: ${(await verdict.textContent()).trim()}`;
}

async function live(page) {
  const counter = page.locator("[data-samples]");
  await shown(counter);
  const first = Number(await counter.getAttribute("data-samples"));
  await page.waitForFunction((n) => Number(document.querySelector("[data-samples]")?.dataset.samples) >= n + 2, first, { timeout: left() });
  return `${await counter.getAttribute("data-samples")} samples`;
}

async function walk(browser, said) {
  const locale = env("HEARTH_LOCALE", "en");
  const page = await (await profile(browser, { size: desktop, locale })).newPage();
  complaints(page, said);
  await see("signed in", () => signIn(page));
  await see("found the customer by phone", () => find(page));
  await see("the page shows the ticket and the timeline", () => readTimeline(page));
  await see("remote session asked", () => ask(page));
  const inbox = await (await profile(browser, { size: phone, locale })).newPage();
  complaints(inbox, said);
  await see("consent answered in the inbox", () => reply(inbox));
  if (answer === "given") {
    await see("connected", () => shown(page.locator('[data-stage="open"]')));
    await see("connection diagnosis streamed", () => diagnosed(page));
    await see("live metrics arriving", () => live(page));
    await picture(page, "console.png");
    await see("session ended", async () => {
      const byCustomer = env("HEARTH_END", "staff") === "customer";
      await click(byCustomer ? inbox.locator('[data-answer="withdrawn"]') : page.locator('[data-action="end"]'));
      await shown(page.locator('[data-stage="closed"]'));
      await shown(page.locator('[data-kind="session.closed"]'));
    });
  } else {
    await see("the console shows that the customer refused", async () => {
      await shown(page.locator('[data-stage="closed"]'));
      await shown(page.locator('[data-kind="consent.refused"]'));
    });
    await picture(page, "console.png");
  }
  at = "pages without complaints";
  if (said.length > 0) throw new Error(said.join("; "));
}

mkdirSync(shots, { recursive: true });
let browser;
const said = [];
let failed = false;
try {
  browser = await launch();
  await walk(browser, said);
} catch (error) {
  failed = true;
  const why = [error.message.split("\n")[0], ...said].join("; ");
  console.log(`not seen: ${at} (${why})`);
  // The console's page tells most; the inbox when that is where it stopped.
  const pages = browser?.contexts().flatMap((context) => context.pages()) ?? [];
  const page = at === "consent answered in the inbox" ? pages.at(-1) : pages[0];
  await page?.screenshot({ path: join(shots, "failure.png") }).catch(() => undefined);
} finally {
  await browser?.close();
}
process.exit(failed ? 1 : 0);

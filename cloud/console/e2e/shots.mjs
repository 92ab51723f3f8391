// Takes a picture of every page, for people to look at:
//
//	node e2e/shots.mjs --url http://localhost:5173 --out /tmp/shots [--user NAME --password-file FILE] \
//	     [--customer ID] [--problem ID] [--inbox URL] [--only customer,inbox]
//
// Against `npm run sample` it needs no more than the address. Exit code 1: a page complained, or axe
// found something that keeps a person from using it (WCAG 2.1 A and AA).
import { mkdirSync, readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { createRequire } from "node:module";
import { complaints, desktop, launch, phone, profile } from "./browser.mjs";

const { values: args } = parseArgs({
  options: {
    url: { type: "string", default: "http://localhost:5173" },
    out: { type: "string", default: "shots" },
    user: { type: "string" },
    "password-file": { type: "string" },
    customer: { type: "string", default: "c1" },
    problem: { type: "string", default: "p1" },
    inbox: { type: "string", default: "/inbox#sample" },
    only: { type: "string", default: "" },
  },
});
mkdirSync(args.out, { recursive: true });

const pages = [
  ["find", "/"],
  ["customer", `/customers/${args.customer}`],
  ["why", `/customers/${args.customer}`, async (page) => page.locator('[data-kind="risk.raised"] button, [data-kind="ticket.opened"] button').first().click()],
  ["tickets", "/tickets"],
  ["problems", "/problems"],
  ["problem", `/problems/${args.problem}`],
  ["inbox", args.inbox],
];
const looks = [
  ["desktop-en", { size: desktop, locale: "en-GB" }],
  ["desktop-zh", { size: desktop, locale: "zh-CN" }],
  ["phone-en", { size: phone, locale: "en-GB" }],
  ["phone-zh", { size: phone, locale: "zh-CN" }],
  ["desktop-dark", { size: desktop, locale: "zh-TW", dark: true }],
];
const only = args.only.split(",").filter(Boolean);
const browser = await launch();
const bad = [];
const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe has to say about a page, one line a rule with the first place. */
async function barriers(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run({ runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }));
  return violations.map((v) => `${v.id} (${v.impact}), ${v.nodes.length} times: ${v.nodes[0].html.slice(0, 120)} ${v.nodes[0].any[0]?.message ?? ""}`);
}
for (const [look, options] of looks) {
  const context = await profile(browser, options);
  const page = await context.newPage();
  const said = complaints(page);
  if (args.user) {
    await page.goto(args.url);
    await page.locator("input[name=username]").waitFor();
    await page.screenshot({ path: `${args.out}/signin-${look}.png` });
    await page.locator("input[name=username]").fill(args.user);
    await page.locator("input[name=password]").fill(readFileSync(args["password-file"], "utf8").trim());
    await page.locator("button[type=submit]").click();
    await page.locator("#main").waitFor();
  }
  for (const [name, path, act] of pages) {
    if (only.length > 0 && !only.includes(name)) continue;
    await page.goto(new URL(path, args.url).href);
    await page.waitForTimeout(1500); // charts draw after their data
    if (act) {
      await act(page).catch(() => bad.push(`${name}-${look}: nothing to click`));
      await page.waitForTimeout(900);
    }
    await page.screenshot({ path: `${args.out}/${name}-${look}.png` });
    bad.push(...(await barriers(page)).map((line) => `${name}-${look}: ${line}`));
  }
  bad.push(...said.map((line) => `${look}: ${line}`));
  await context.close();
}
await browser.close();
for (const line of new Set(bad)) console.error(line);
process.exit(bad.length > 0 ? 1 : 0);

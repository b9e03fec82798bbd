// Drives the dashboard in a real browser, as an operator would: with and without JavaScript, in light and
// in dark, by keyboard. Told what to look for by the test that starts it (tests/it/dashboard.rs); ends with
// an error at the first thing that is not so.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

const modules = createRequire(join(process.env.BROWSER_MODULES, "package.json"));
const { chromium } = modules("playwright-core");
const axe = readFileSync(modules.resolve("axe-core/axe.min.js"), "utf8");

const asked = JSON.parse(process.env.BROWSER_ASKED);
const { base, token, pictures, parked, held, drifted } = asked;

const browser = await chromium.launch({
  executablePath: process.env.BROWSER_CHROMIUM,
  args: [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
  ],
});

const wrong = [];
const watched = async (options) => {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  // 401 is the answer to a wrong token, and the browser says so on its console.
  page.on("console", (said) => { if (said.type() === "error" && !said.text().includes("401")) wrong.push(said.text()); });
  page.on("pageerror", (error) => wrong.push(String(error)));
  page.on("dialog", (dialog) => { wrong.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("request", (request) => { if (!request.url().startsWith(base)) wrong.push(`asked for ${request.url()}`); });
  return page;
};

const accessible = async (page, what) => {
  await page.evaluate(axe + "; undefined");
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.map((it) => `${it.impact} ${it.id}: ${it.nodes.map((node) => node.html).join(" | ").slice(0, 400)}`);
  for (const one of found) console.log(`axe on ${what}: ${one}`);
  const serious = violations.filter((it) => ["serious", "critical"].includes(it.impact));
  assert.equal(serious.length, 0, `${what} is not accessible:\n${found.join("\n")}`);
};

const inBoth = async (page, what) => {
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme });
    await accessible(page, `${what} (${colorScheme})`);
  }
  await page.setViewportSize({ width: 360, height: 800 });
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(wider <= 0, `${what} is ${wider} px wider than a telephone`);
  await page.setViewportSize({ width: 1280, height: 900 });
  await page.evaluate(() => document.activeElement?.blur());
  await page.screenshot({ path: join(pictures, `${what}.png`), fullPage: true });
};

const signIn = async (page) => {
  await page.goto(base);
  assert.match(page.url(), /\/login\?next=/);
  await page.getByLabel("Admin token").fill(token);
  await page.getByLabel("Your name").fill("ana");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "Overview" }).waitFor();
};

// The other side of the test does something and says when it is done.
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const ask = async (what) => {
  console.log(`please ${what}`);
  assert.equal((await lines.next()).value, "done");
};

const page = await watched({});
try {
  await page.goto(base);
  await inBoth(page, "sign-in");
  await page.getByLabel("Admin token").fill("wrong");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("alert").waitFor();
  await signIn(page);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  await inBoth(page, "overview");
  const tile = page.locator("a.tile", { hasText: "parked" });
  assert.equal((await tile.locator(".n").textContent()).trim(), "1");
  // The day that the store remembers, with the hour in which the service did not run.
  for (const line of ["p50", "p95"]) assert.equal(await page.locator(`.plot polyline.${line}`).count(), 2);
  await page.getByText("The same as a table").click();
  assert.ok(await page.getByRole("table", { name: /15 minutes/ }).getByRole("row").count() > 80);
  await page.getByText("The same as a table").click();

  // Filter parked, try one again, see it go.
  await page.getByRole("link", { name: "Queue" }).click();
  await page.getByRole("link", { name: /^parked/ }).click();
  const row = page.locator(`tr[data-user="${parked}"]`);
  await row.waitFor();
  assert.equal(await page.locator("tr[data-user]").count(), 1);
  await inBoth(page, "queue");
  await ask("heal");
  await row.getByRole("button", { name: /^Try again/ }).click();
  await page.getByRole("status").waitFor();
  await row.waitFor({ state: "detached" });
  await page.getByText("Nothing is parked").waitFor();

  // An open page follows by itself.
  await page.goto(`${base}/queue?state=parked`);
  await page.getByText("Nothing is parked").waitFor();
  await ask("park");
  await row.waitFor();
  await ask("heal");
  await row.getByRole("button", { name: /^Try again/ }).click();
  await page.getByText("Nothing is parked").waitFor();

  await page.getByRole("link", { name: "Held", exact: true }).click();
  await page.locator(`tr[data-user="${held}"]`).waitFor();
  await inBoth(page, "held");
  await page.getByRole("link", { name: "Drift" }).click();
  await page.getByRole("cell", { name: /Changed by hand/ }).waitFor();
  await inBoth(page, "drift");
  await page.getByRole("link", { name: "History" }).click();
  await page.getByRole("table").waitFor();
  await inBoth(page, "history");
  await page.getByRole("link", { name: "Subscriptions" }).click();
  await page.getByRole("table").waitFor();
  await inBoth(page, "subscriptions");
  await page.getByLabel("User").fill(drifted);
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "What both sides show now" }).waitFor();
  await inBoth(page, "user");
  await page.getByRole("button", { name: /^Sync now/ }).click();
  await page.getByRole("status").waitFor();

  // Without JavaScript everything works too.
  const plain = await watched({ javaScriptEnabled: false });
  await plain.goto(base);
  await plain.getByLabel("Admin token").fill(token);
  await plain.getByRole("button", { name: "Sign in" }).click();
  await plain.getByRole("link", { name: "Held", exact: true }).click();
  await plain.locator(`tr[data-user="${held}"]`).getByRole("button", { name: /^Approve/ }).click();
  assert.match(await plain.getByRole("status").textContent(), /Approved what was held of 1 users/);
  // The approval marks the user; the next run of the job carries it out.
  const still = plain.locator(`tr[data-user="${held}"]`);
  for (const ends = Date.now() + 30_000; (await still.count()) > 0 && Date.now() < ends;) await plain.reload();
  assert.equal(await still.count(), 0);
  await plain.getByRole("button", { name: "Sign out" }).click();
  assert.match(plain.url(), /\/login$/);
  await plain.goto(`${base}/queue`);
  assert.match(plain.url(), /\/login\?next=/);
} catch (error) {
  // What was on the page when something was not as it should be.
  console.log(`at ${page.url()}:\n${await page.locator("main").innerText().catch(() => "nothing")}`);
  console.log(wrong.join("\n"));
  throw error;
}

assert.deepEqual(wrong, []);
await browser.close();
console.log("seen");
process.exit(0);

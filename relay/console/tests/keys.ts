/** A page driven by keys alone: what can't be reached by them is not there. */
import { expect, type Locator, type Page } from '@playwright/test';

/** More stops than any page has. */
const STOPS_MAX = 120;

export class Keys {
  readonly #page: Page;

  constructor(page: Page) {
    this.#page = page;
  }

  /** Goes on by Tab until this has the focus. */
  async to(target: Locator): Promise<void> {
    // A radio button may be drawn by what stands beside it.
    await expect(target).toBeAttached();
    for (let stop = 0; stop < STOPS_MAX; stop += 1) {
      if (await this.has(target)) return;
      await this.#page.keyboard.press('Tab');
    }
    throw new Error(`no Tab leads to ${target.toString()}`);
  }

  async press(target: Locator): Promise<void> {
    await expect(target).toBeEnabled();
    await this.to(target);
    await this.#page.keyboard.press('Enter');
  }

  async type(target: Locator, text: string): Promise<void> {
    await this.to(target);
    await this.#page.keyboard.press('ControlOrMeta+a');
    await this.#page.keyboard.insertText(text);
  }

  /** Takes an option of a list, by the arrow keys. */
  async choose(list: Locator, option: string | RegExp): Promise<void> {
    await expect(list).toBeEnabled();
    await this.to(list);
    await this.#page.keyboard.press('Enter');
    const wanted = this.#page.getByRole('option', { name: option });
    await expect(wanted.first()).toBeVisible();
    for (let step = 0; step < STOPS_MAX; step += 1) {
      // The list says by its own attribute where the arrows are.
      const chosen = wanted.first();
      if ((await chosen.getAttribute('data-combobox-selected')) === 'true') break;
      await this.#page.keyboard.press('ArrowDown');
    }
    await this.#page.keyboard.press('Enter');
    await expect(wanted).toHaveCount(0);
  }

  /** Checks a box, or takes the radio button of a group by the arrows. */
  async check(target: Locator): Promise<void> {
    await expect(target).toBeEnabled();
    const type = await target.getAttribute('type');
    if (type !== 'radio') {
      await this.to(target);
      await this.#page.keyboard.press('Space');
    } else {
      const name = await target.getAttribute('name');
      // A group is one stop: its chosen button.
      await this.to(this.#page.locator(`input[type="radio"][name="${name}"]:checked`));
      for (let step = 0; step < STOPS_MAX && !(await target.isChecked()); step += 1) {
        await this.#page.keyboard.press('ArrowDown');
      }
    }
    await expect(target).toBeChecked();
  }

  private has(target: Locator): Promise<boolean> {
    return target.evaluate((element) => element === document.activeElement);
  }
}

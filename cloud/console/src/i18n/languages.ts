/** The languages of the pages, each by its own name. */
export const languages = { en: "English", "zh-CN": "简体中文", "zh-TW": "繁體中文" } as const;
export type Language = keyof typeof languages;

export const isLanguage = (tag: unknown): tag is Language => typeof tag === "string" && tag in languages;

/** Picks a language for a list of BCP 47 tags, best first. Script decides for Chinese, then region. */
export function match(tags: readonly string[]): Language {
  for (const tag of tags) {
    const [base, ...rest] = tag.toLowerCase().split("-");
    if (base === "en") return "en";
    if (base === "zh") {
      const traditional = rest.includes("hant") || (!rest.includes("hans") && rest.some((r) => ["tw", "hk", "mo"].includes(r)));
      return traditional ? "zh-TW" : "zh-CN";
    }
  }
  return "en";
}

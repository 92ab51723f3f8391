/** A fragment as the head of a line or a label: "packets are lost" becomes "Packets are lost". */
export const headline = (text: string, lang: string) => text.charAt(0).toLocaleUpperCase(lang) + text.slice(1);

/**
 * Fills a message. `{name}` stands for an argument; an unknown one stays visible, so that a mistake is
 * seen and not hidden. A message of two forms, "{n} device | {n} devices", takes the first for the
 * plural category "one" of argument n.
 */
export function fill(message: string, args: Record<string, string | number> | undefined, lang: string): string {
  const forms = message.split(" | ");
  let form = forms[0]!;
  if (forms.length > 1 && typeof args?.n === "number" && new Intl.PluralRules(lang).select(args.n) !== "one") {
    form = forms[1]!;
  }
  if (!args) return form;
  return form.replace(/\{(\w+)\}/g, (whole, name: string) => {
    const value = args[name];
    return value === undefined ? whole : typeof value === "number" ? value.toLocaleString(lang) : value;
  });
}

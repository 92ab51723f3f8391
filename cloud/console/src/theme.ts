import { createTheme, type MantineColorsTuple } from "@mantine/core";

// One quiet accent. Status colours (see status.css) appear only where they mean something.
const lagoon: MantineColorsTuple = [
  "#ecf8f8", "#d9eeee", "#aedddd", "#80cbcc", "#5bbcbe",
  "#43b2b5", "#35a0a4", "#238a8f", "#10747a", "#0f5c63",
];

export const theme = createTheme({
  primaryColor: "lagoon",
  primaryShade: { light: 9, dark: 8 },
  colors: { lagoon },
  defaultRadius: "md",
  fontFamily:
    '"Inter Variable", system-ui, -apple-system, "Segoe UI", "PingFang SC", "PingFang TC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "SF Mono", "Cascadia Mono", Menlo, "DejaVu Sans Mono", monospace',
  headings: { fontWeight: "620", sizes: { h1: { fontSize: "1.5rem" }, h2: { fontSize: "1.0625rem" }, h3: { fontSize: "0.9375rem" } } },
  fontSizes: { xs: "0.75rem", sm: "0.8125rem", md: "0.9375rem" },
  cursorType: "pointer",
  focusRing: "auto",
});

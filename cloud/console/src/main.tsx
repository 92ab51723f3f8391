import "./fonts.css";
import "@mantine/core/styles.css";
import "./global.css";
import { MantineProvider } from "@mantine/core";
import { QueryClientProvider } from "@tanstack/react-query";
import { Suspense } from "react";
import { createRoot } from "react-dom/client";
import { BrowserRouter } from "react-router";
import { App } from "./app";
import { newQueryClient } from "./api/queries";
import { I18n } from "./i18n";
import { theme } from "./theme";

// Style sheets that scripts make need the nonce of the page's content policy. Mantine asks for it; the
// scroll lock of its dialogs reads the global that bundlers use for it.
const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? "";
Object.assign(globalThis, { __webpack_nonce__: nonce });

createRoot(document.getElementById("root")!).render(
  <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
    <QueryClientProvider client={newQueryClient()}>
      <Suspense>
        <I18n>
          <BrowserRouter>
            <App />
          </BrowserRouter>
        </I18n>
      </Suspense>
    </QueryClientProvider>
  </MantineProvider>,
);

import { lazy, Suspense } from "react";
import { Route, Routes } from "react-router";
import { Shell } from "./components/Shell";
import { Empty } from "./components/States";
import { useI18n } from "./i18n";

// The inbox is a page for a customer's phone: it must not wait for the console's code, nor the other way.
const Inbox = lazy(() => import("./inbox/InboxPage").then((m) => ({ default: m.InboxPage })));
const Find = lazy(() => import("./pages/FindPage").then((m) => ({ default: m.FindPage })));
const Customer = lazy(() => import("./customer/CustomerPage").then((m) => ({ default: m.CustomerPage })));
const Tickets = lazy(() => import("./pages/TicketsPage").then((m) => ({ default: m.TicketsPage })));
const Problems = lazy(() => import("./pages/ProblemsPage").then((m) => ({ default: m.ProblemsPage })));
const Problem = lazy(() => import("./pages/ProblemPage").then((m) => ({ default: m.ProblemPage })));

export function App() {
  return (
    <Suspense>
      <Routes>
        <Route path="/inbox/*" element={<Inbox />} />
        <Route element={<Shell />}>
          <Route index element={<Find />} />
          <Route path="customers/:customer" element={<Customer />} />
          <Route path="tickets" element={<Tickets />} />
          <Route path="problems" element={<Problems />} />
          <Route path="problems/:problem" element={<Problem />} />
          <Route path="*" element={<Missing />} />
        </Route>
      </Routes>
    </Suspense>
  );
}

function Missing() {
  const { t } = useI18n();
  return <Empty title={t("error.nopage")} />;
}

const en = {
  "nav.main": "Main", "nav.skip": "Skip to content", "nav.find": "Find", "nav.tickets": "Tickets", "nav.problems": "Problems",
  "nav.customer": "Customer", "nav.account": "Account of {name}", "nav.language": "Language", "nav.theme": "Appearance",
  "nav.theme.light": "Light", "nav.theme.dark": "Dark", "nav.theme.auto": "As the system", "nav.signout": "Sign out",
  "live.down": "Reconnecting. What you see may be old.",

  "error.unreachable": "The service cannot be reached", "error.missing": "There is no such thing here",
  "error.forbidden": "You may not see this", "error.other": "That did not work", "error.retry": "Try again",
  "error.conflict": "Something has changed meanwhile. Please look again.",
  "error.nopage": "There is no such page", "dialog.cancel": "Cancel",

  "signin.title": "Sign in", "signin.what": "Who is calling, what their home says, and what was tried.",
  "signin.name": "Name", "signin.password": "Password", "signin.submit": "Sign in", "signin.show": "Show the password", "signin.wrong": "Name or password is not right.",

  "find.title": "Who is calling?", "find.placeholder": "Phone, name or device",
  "find.hint": "Any part of a phone number, name, e-mail or device.", "find.keys": "Arrow keys choose, Enter opens.",
  "find.results": "Customers found", "find.open": "{n} open | {n} open", "find.nobody": "Nobody found for “{q}”",
  "find.nobody.more": "Try fewer digits of the number, or the name of the device.",
  "find.recent": "Open matters", "find.all": "All tickets",

  "tickets.what": "What", "tickets.who": "Who", "tickets.where": "Blamed", "tickets.state": "State", "tickets.since": "Since",
  "tickets.unsolved": "Unsolved", "tickets.none": "No tickets here",
  "tickets.none.more": "A ticket opens by itself when no allowed fix solves a fault.",
  "ticket.open": "Open", "ticket.waiting": "Waiting for the customer", "ticket.solved": "Solved", "ticket.title": "What is it about?",

  "segment.none": "Nothing wrong", "segment.device": "Device", "segment.home": "Home network", "segment.isp": "Internet provider",
  "segment.cloud": "Our service", "segment.unknown": "Not known yet", "path.label": "Where the path breaks: {verdict}",

  "health.score": "Health {score} of 100", "health.unknown": "Health not known yet",
  "health.unknown.more": "Too little has been measured to say how healthy it is.", "health.reasons": "Why the health is not full",

  "customer.nohome": "This customer has no home yet", "customer.former": "former",
  "who.speaks": "speaks", "who.localtime": "local time", "who.since": "in this home since", "who.until": "until",

  "story.what": "What", "story.what.last": "Last matter", "story.since": "Since", "story.why": "Why", "story.tried": "What was tried",
  "story.ticket.open": "Ticket open", "story.ticket.waiting": "Waiting for the customer", "story.noticket": "No open ticket",
  "story.first": "First sign: {what}", "story.why.unknown": "Not known yet", "story.tried.nothing": "Nothing yet", "story.calm": "No faults on record. Nothing is open.",
  "story.problem": "Known problem: {cohort}",
  "story.running": "Running: {plan}", "story.worked": "Helped: {plan}", "story.undone": "Did not help, undone: {plan}", "story.failed": "Not carried out: {plan}",

  "devices.title": "Devices", "devices.none": "No devices in this home", "devices.online": "Online since", "devices.offline": "Offline since", "devices.never": "Not connected yet",
  "devices.model": "Model", "devices.firmware": "Firmware", "devices.seen": "Last heard", "devices.id": "Device id",
  "devices.span": "Stretch of time", "devices.span.quarter": "15 min", "devices.span.sixhours": "6 hours", "devices.span.week": "7 days",
  "devices.nosignal": "No measurements yet", "chart.none": "Nothing measured", "chart.peak": "peak {value}",

  "timeline.title": "Timeline", "timeline.empty": "Nothing has happened yet",
  "timeline.empty.more": "Faults, fixes, messages and visits appear here as they happen.", "timeline.more": "Earlier", "timeline.minor": "{n} smaller event | {n} smaller events", "timeline.fewer": "Show fewer",
  "why.ask": "Why?", "why.details": "Details", "why.chain": "How it came about", "why.reasons": "Reasons and their share",
  "why.evidence": "What was measured", "why.value": "{value}, usually {normal}",
  "diagnosis.verdict": "Verdict: {kind}", "diagnosis.steps": "Steps", "diagnosis.well": "All is well", "diagnosis.found": "Fault found", "diagnosis.cut": "Cut short",
  "step.status.ok": "good", "step.status.warn": "with a remark", "step.status.fail": "failed", "step.status.skipped": "not run",

  "matters.title": "Matters and contacts", "matters.promises": "Promised", "matters.tickets": "Open tickets", "matters.noticket": "No open ticket",
  "matters.problems": "Known problems", "matters.since": "since", "matters.contacts": "Contacts", "matters.nocontact": "They have not been in touch yet",
  "matters.promised": "Promised: {text}", "matters.due": "due", "matters.late": "overdue since", "matters.kept": "Done", "matters.opened": "opened",
  "matters.close": "Solve", "matters.close.title": "Solve the ticket", "matters.close.label": "What solved it?",
  "matters.remark": "Note", "matters.remark.title": "Note on the ticket", "matters.remark.label": "What should colleagues know?",

  "actions.note": "Note a call", "actions.ticket": "Open ticket", "actions.diagnose": "Diagnose", "actions.diagnose.other": "Other diagnoses",
  "actions.session": "Remote session",
  "note.title": "Note a call", "note.said": "What did they say?", "note.promise": "What did you promise?",
  "note.promise.example": "Call back with the result", "note.due": "By when?", "note.hours": "in {n} hour | in {n} hours", "note.save": "Save",

  "session.title": "Remote session", "session.asked": "Waiting for the customer to agree in the inbox. Asked",
  "session.starting": "The customer agreed. Starting on the device …", "session.connecting": "Connecting to the device …",
  "session.open": "Connected", "session.lost": "The connection is interrupted", "session.closed": "The session is closed",
  "session.direct": "direct", "session.relayed": "relayed", "session.cancel": "Cancel", "session.end": "End session", "session.dismiss": "Close panel",
  "session.stage.consent": "Consent", "session.stage.connect": "Connect", "session.stage.open": "In the home",
  "kind.connection": "Connection", "kind.ping": "Ping", "kind.dns": "DNS", "kind.dhcp": "DHCP", "kind.traceroute": "Route",
  "kind.interface": "Interfaces", "kind.wifi": "Wi-Fi", "kind.speed": "Speed",
  "session.diagnose": "Look into", "session.live": "Live, once a second",

  "problem.open": "Open", "problem.closed": "Over", "problem.title": "{cohort}", "problem.opened": "Opened", "problem.closedat": "Over since",
  "problem.observed": "Faults and contacts", "problem.expected": "{n} expected", "problem.times": "Above the expected",
  "problem.devices": "Devices in the cohort", "problem.homes": "Homes affected", "problem.told": "{n} told first", "problem.tickets": "Tickets linked",
  "problem.evidence": "Evidence", "problem.window": "Counted", "problem.nohomes": "No home is affected yet", "problem.device": "Device",
  "problem.told.when": "Told", "problem.ticket": "Ticket", "problem.linked": "linked",
  "problem.chart": "Faults per day against what was expected", "problem.bar": "{observed} seen, {expected} expected",
  "problem.legend": "Bars: seen per day. Dashed line: what the rest of the fleet lets us expect.",
  "outages.title": "Outages", "outages.where": "Where", "outages.blamed": "Blamed", "outages.homes": "Homes", "outages.from": "Began", "outages.to": "Over",
  "outages.everywhere": "Everywhere", "outage.open": "Going on", "outage.closed": "Over", "outage.here": "Outage: {blamed}", "outage.since": "{homes} homes away since", "matters.outage": "Outage",
  "problems.none": "No problem in sight", "problems.none.more": "A problem opens when one kind of device fails more often than the fleet.",
  "problems.cohort": "Which devices", "problems.homes": "Homes", "problems.tickets": "Tickets",
  "cohort.model": "Model", "cohort.firmware": "Firmware", "cohort.hardware": "Hardware", "cohort.region": "Region", "cohort.isp": "Provider",

  "inbox.title": "Your home", "inbox.closed": "This link is no longer valid", "inbox.closed.more": "Please open the newest link from your app or e-mail.",
  "inbox.empty": "All is quiet", "inbox.empty.more": "When we find or fix something in your home, you will read it here first.",
  "inbox.good": "Everything is working well", "inbox.warn": "Working, with something to watch", "inbox.bad": "Something is not working well",
  "inbox.offline": "A device is offline | {n} devices are offline", "inbox.learning": "Getting to know your home",
  "inbox.write": "Write to us", "inbox.send": "Send", "inbox.unsent": "Not sent. Please try again.", "inbox.promised": "We promised: {text}",
  "inbox.session": "Support may look now", "inbox.session.more": "You can end this at any time.",
  "consent.yes": "Yes, go ahead", "consent.no": "No", "consent.withdraw": "Stop", "consent.limits": "They see only this, and only once. The question ends",
  "consent.what.diagnose": "run checks of your connection", "consent.what.metrics": "see live measurements of your connection",
  "consent.given": "You agreed", "consent.refused": "You said no", "consent.withdrawn": "You stopped it", "consent.expired": "No longer open",
};

export type Key = keyof typeof en;
export type Messages = Record<Key, string>;
export default en as Messages;

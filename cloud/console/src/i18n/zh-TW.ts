import type { Messages } from "./en";

const zhTW: Messages = {
  "nav.main": "主選單", "nav.skip": "跳到內容", "nav.find": "尋找", "nav.tickets": "案件", "nav.problems": "批次問題",
  "nav.customer": "客戶", "nav.account": "{name} 的帳號", "nav.language": "語言", "nav.theme": "外觀",
  "nav.theme.light": "淺色", "nav.theme.dark": "深色", "nav.theme.auto": "依照系統", "nav.signout": "登出",
  "live.down": "正在重新連線，目前內容可能不是最新的。",

  "error.unreachable": "無法連線到服務", "error.missing": "找不到這項內容",
  "error.forbidden": "您沒有檢視權限", "error.other": "操作沒有成功", "error.retry": "再試一次",
  "error.conflict": "情況已有變化，請查看最新內容後再試",
  "error.nopage": "沒有這個頁面", "dialog.cancel": "取消",

  "signin.title": "登入", "signin.what": "誰來電、家中裝置狀況如何、已經試過什麼，一目了然。",
  "signin.name": "使用者名稱", "signin.password": "密碼", "signin.submit": "登入", "signin.show": "顯示密碼", "signin.wrong": "使用者名稱或密碼不正確。",

  "find.title": "誰來電？", "find.placeholder": "電話、姓名或裝置",
  "find.hint": "輸入電話、姓名、電子郵件或裝置的任何一部分。", "find.keys": "方向鍵選擇，Enter 開啟。",
  "find.results": "找到的客戶", "find.open": "{n} 件未結", "find.nobody": "找不到「{q}」",
  "find.nobody.more": "可以少輸入幾碼，或改用裝置名稱。",
  "find.recent": "未結事項", "find.all": "所有案件",

  "tickets.what": "事項", "tickets.who": "客戶", "tickets.where": "問題所在", "tickets.state": "狀態", "tickets.since": "開始時間",
  "tickets.unsolved": "未解決", "tickets.none": "這裡沒有案件",
  "tickets.none.more": "當允許的修復都無法解決故障時，系統會自動建立案件。",
  "ticket.open": "處理中", "ticket.waiting": "等待客戶", "ticket.solved": "已解決", "ticket.title": "是什麼事情？",

  "segment.none": "一切正常", "segment.device": "裝置", "segment.home": "家庭網路", "segment.isp": "網路供應商",
  "segment.cloud": "我們的服務", "segment.unknown": "尚不清楚", "path.label": "中斷位置：{verdict}",

  "health.score": "健康度 {score}（滿分 100）", "health.unknown": "健康度尚不清楚",
  "health.unknown.more": "量測資料還太少，暫時無法判斷健康狀況。", "health.reasons": "健康度扣分的原因",

  "customer.nohome": "這位客戶還沒有登記住所", "customer.former": "已搬離",
  "who.speaks": "語言", "who.localtime": "當地時間", "who.since": "入住", "who.until": "至",

  "story.what": "發生了什麼", "story.what.last": "最近一件事", "story.since": "從何時起", "story.why": "原因", "story.tried": "已嘗試",
  "story.ticket.open": "案件處理中", "story.ticket.waiting": "等待客戶", "story.noticket": "沒有未結案件",
  "story.first": "最初跡象：{what}", "story.why.unknown": "尚不清楚", "story.tried.nothing": "尚未嘗試", "story.calm": "沒有故障紀錄，也沒有未結事項。",
  "story.problem": "已知問題：{cohort}",
  "story.running": "進行中：{plan}", "story.worked": "已奏效：{plan}", "story.undone": "無效，已還原：{plan}", "story.failed": "未能執行：{plan}",

  "devices.title": "裝置", "devices.none": "家中沒有裝置", "devices.online": "上線於", "devices.offline": "離線於", "devices.never": "尚未連線",
  "devices.model": "型號", "devices.firmware": "韌體", "devices.seen": "最近通訊", "devices.id": "裝置編號",
  "devices.span": "時間範圍", "devices.span.quarter": "15 分鐘", "devices.span.sixhours": "6 小時", "devices.span.week": "7 天",
  "devices.nosignal": "還沒有量測資料", "chart.none": "沒有量測值", "chart.peak": "峰值 {value}",

  "timeline.title": "時間軸", "timeline.empty": "還沒有發生任何事情",
  "timeline.empty.more": "故障、修復、留言和處理過程會即時出現在這裡。", "timeline.more": "更早的紀錄", "timeline.minor": "{n} 筆次要紀錄", "timeline.fewer": "收起",
  "why.ask": "為什麼？", "why.details": "詳情", "why.chain": "來龍去脈", "why.reasons": "原因及其占比",
  "why.evidence": "量測依據", "why.value": "{value}，平時 {normal}",
  "diagnosis.verdict": "結論：{kind}", "diagnosis.steps": "步驟", "diagnosis.well": "一切正常", "diagnosis.found": "發現故障", "diagnosis.cut": "中途停止",
  "step.status.ok": "正常", "step.status.warn": "有異常跡象", "step.status.fail": "失敗", "step.status.skipped": "未執行",

  "matters.title": "事項與聯絡紀錄", "matters.promises": "已承諾", "matters.tickets": "未結案件", "matters.noticket": "沒有未結案件",
  "matters.problems": "已知問題", "matters.since": "開始於", "matters.contacts": "聯絡紀錄", "matters.nocontact": "客戶還沒有聯絡過我們",
  "matters.promised": "已承諾：{text}", "matters.due": "期限", "matters.late": "已逾期", "matters.kept": "已完成", "matters.opened": "建立於",
  "matters.close": "解決", "matters.close.title": "解決案件", "matters.close.label": "是怎麼解決的？",
  "matters.remark": "備註", "matters.remark.title": "案件備註", "matters.remark.label": "同事需要了解什麼？",

  "actions.note": "記錄來電", "actions.ticket": "建立案件", "actions.diagnose": "診斷", "actions.diagnose.other": "其他診斷",
  "actions.session": "遠端協助",
  "note.title": "記錄來電", "note.said": "客戶說了什麼？", "note.promise": "您承諾了什麼？",
  "note.promise.example": "有結果後回電", "note.due": "何時之前？", "note.hours": "{n} 小時內", "note.save": "儲存",

  "session.title": "遠端協助", "session.asked": "等待客戶在收件匣中同意。詢問時間：",
  "session.starting": "客戶已同意，正在裝置上啟動……", "session.connecting": "正在連線到裝置……",
  "session.open": "已連線", "session.lost": "連線中斷", "session.closed": "協助已結束",
  "session.direct": "直接連線", "session.relayed": "中繼", "session.cancel": "取消", "session.end": "結束協助", "session.dismiss": "關閉面板",
  "session.stage.consent": "客戶同意", "session.stage.connect": "連線", "session.stage.open": "進入家中網路",
  "kind.connection": "整條連線", "kind.ping": "連通性", "kind.dns": "網域名稱解析", "kind.dhcp": "位址分配", "kind.traceroute": "路由路徑",
  "kind.interface": "網路介面", "kind.wifi": "無線訊號", "kind.speed": "網速",
  "session.diagnose": "檢查項目", "session.live": "即時資料（每秒一次）",

  "problem.open": "進行中", "problem.closed": "已結束", "problem.title": "{cohort}", "problem.opened": "建立於", "problem.closedat": "結束於",
  "problem.observed": "故障與來訪", "problem.expected": "預期 {n}", "problem.times": "高於預期",
  "problem.devices": "涉及的裝置", "problem.homes": "受影響家庭", "problem.told": "已主動告知 {n} 戶", "problem.tickets": "關聯案件",
  "problem.evidence": "依據", "problem.window": "統計區間", "problem.nohomes": "目前沒有受影響的家庭", "problem.device": "裝置",
  "problem.told.when": "告知時間", "problem.ticket": "案件", "problem.linked": "已關聯",
  "problem.chart": "每日故障數與預期對比", "problem.bar": "實際 {observed}，預期 {expected}",
  "problem.legend": "長條：每日實際數量。虛線：依其餘裝置推算的預期數量。",
  "outages.title": "大範圍斷網", "outages.where": "範圍", "outages.blamed": "歸因", "outages.homes": "斷網家庭", "outages.from": "開始於", "outages.to": "結束於",
  "outages.everywhere": "所有地區", "outage.open": "進行中", "outage.closed": "已結束", "outage.here": "大範圍斷網：{blamed}", "outage.since": "{homes} 戶斷網，始於", "matters.outage": "大範圍斷網",
  "problems.none": "目前沒有批次問題", "problems.none.more": "當某一類裝置的故障明顯多於整體時，系統會建立一個批次問題。",
  "problems.cohort": "涉及哪些裝置", "problems.homes": "家庭", "problems.tickets": "案件",
  "cohort.model": "型號", "cohort.firmware": "韌體", "cohort.hardware": "硬體", "cohort.region": "地區", "cohort.isp": "網路供應商",

  "inbox.title": "您的家", "inbox.closed": "這個連結已失效", "inbox.closed.more": "請從應用程式或電子郵件開啟最新的連結。",
  "inbox.empty": "一切安好", "inbox.empty.more": "我們在您家中發現或修復問題時，會第一時間在這裡告訴您。",
  "inbox.good": "一切運作正常", "inbox.warn": "可以使用，但需要留意", "inbox.bad": "有些地方不太正常",
  "inbox.offline": "有 {n} 台裝置離線", "inbox.learning": "正在了解您家的網路",
  "inbox.write": "留言給我們", "inbox.send": "送出", "inbox.unsent": "沒有送出，請再試一次。", "inbox.promised": "我們已承諾：{text}",
  "inbox.session": "客服現在可以查看", "inbox.session.more": "您可以隨時停止。",
  "consent.yes": "同意", "consent.no": "不同意", "consent.withdraw": "停止", "consent.limits": "客服只能做以上事項，且僅限這一次。回答截止：",
  "consent.what.diagnose": "檢查您的網路連線", "consent.what.metrics": "查看網路連線的即時資料",
  "consent.given": "您已同意", "consent.refused": "您沒有同意", "consent.withdrawn": "您已停止", "consent.expired": "已結束",
};

export default zhTW;

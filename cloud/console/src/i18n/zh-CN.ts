import type { Messages } from "./en";

const zhCN: Messages = {
  "nav.main": "主导航", "nav.skip": "跳到正文", "nav.find": "查找", "nav.tickets": "工单", "nav.problems": "批量问题",
  "nav.customer": "客户", "nav.account": "{name} 的账户", "nav.language": "语言", "nav.theme": "外观",
  "nav.theme.light": "浅色", "nav.theme.dark": "深色", "nav.theme.auto": "跟随系统", "nav.signout": "退出登录",
  "live.down": "正在重新连接，当前内容可能不是最新的。",

  "error.unreachable": "无法连接到服务", "error.missing": "找不到这项内容",
  "error.forbidden": "您没有查看权限", "error.other": "操作没有成功", "error.retry": "重试",
  "error.conflict": "情况已有变化，请查看最新内容后再试",
  "error.nopage": "没有这个页面", "dialog.cancel": "取消",

  "signin.title": "登录", "signin.what": "谁来电、家中设备状况如何、已经试过什么，一目了然。",
  "signin.name": "用户名", "signin.password": "密码", "signin.submit": "登录", "signin.show": "显示密码", "signin.wrong": "用户名或密码不正确。",

  "find.title": "谁在来电？", "find.placeholder": "电话、姓名或设备",
  "find.hint": "输入电话、姓名、邮箱或设备的任意一部分。", "find.keys": "方向键选择，回车打开。",
  "find.results": "找到的客户", "find.open": "{n} 件未结", "find.nobody": "没有找到“{q}”",
  "find.nobody.more": "可以少输几位号码，或改用设备名称。",
  "find.recent": "未结事项", "find.all": "全部工单",

  "tickets.what": "事项", "tickets.who": "客户", "tickets.where": "问题所在", "tickets.state": "状态", "tickets.since": "开始时间",
  "tickets.unsolved": "未解决", "tickets.none": "这里没有工单",
  "tickets.none.more": "当允许的修复都无法解决故障时，系统会自动建立工单。",
  "ticket.open": "处理中", "ticket.waiting": "等待客户", "ticket.solved": "已解决", "ticket.title": "是什么事情？",

  "segment.none": "一切正常", "segment.device": "设备", "segment.home": "家庭网络", "segment.isp": "网络运营商",
  "segment.cloud": "我们的服务", "segment.unknown": "尚不清楚", "path.label": "中断位置：{verdict}",

  "health.score": "健康度 {score}（满分 100）", "health.unknown": "健康度尚不清楚",
  "health.unknown.more": "测量数据还太少，暂时无法判断健康状况。", "health.reasons": "健康度扣分的原因",

  "customer.nohome": "这位客户还没有登记住所", "customer.former": "已搬离",
  "who.speaks": "语言", "who.localtime": "当地时间", "who.since": "入住", "who.until": "至",

  "story.what": "发生了什么", "story.what.last": "最近一件事", "story.since": "从何时起", "story.why": "原因", "story.tried": "已尝试",
  "story.ticket.open": "工单处理中", "story.ticket.waiting": "等待客户", "story.noticket": "没有未结工单",
  "story.first": "最初迹象：{what}", "story.why.unknown": "尚不清楚", "story.tried.nothing": "尚未尝试", "story.calm": "没有故障记录，也没有未结事项。",
  "story.problem": "已知问题：{cohort}",
  "story.running": "进行中：{plan}", "story.worked": "已奏效：{plan}", "story.undone": "无效，已还原：{plan}", "story.failed": "未能执行：{plan}",

  "devices.title": "设备", "devices.none": "家中没有设备", "devices.online": "上线于", "devices.offline": "离线于", "devices.never": "尚未连接",
  "devices.model": "型号", "devices.firmware": "固件", "devices.seen": "最近通信", "devices.id": "设备编号",
  "devices.span": "时间范围", "devices.span.quarter": "15 分钟", "devices.span.sixhours": "6 小时", "devices.span.week": "7 天",
  "devices.nosignal": "还没有测量数据", "chart.none": "没有测量值", "chart.peak": "峰值 {value}",

  "timeline.title": "时间线", "timeline.empty": "还没有发生任何事情",
  "timeline.empty.more": "故障、修复、留言和处理过程会实时出现在这里。", "timeline.more": "更早的记录", "timeline.minor": "{n} 条次要记录", "timeline.fewer": "收起",
  "why.ask": "为什么？", "why.details": "详情", "why.chain": "来龙去脉", "why.reasons": "原因及其占比",
  "why.evidence": "测量依据", "why.value": "{value}，平时 {normal}",
  "diagnosis.verdict": "结论：{kind}", "diagnosis.steps": "步骤", "diagnosis.well": "一切正常", "diagnosis.found": "发现故障", "diagnosis.cut": "中途停止",
  "step.status.ok": "正常", "step.status.warn": "有异常迹象", "step.status.fail": "失败", "step.status.skipped": "未执行",

  "matters.title": "事项与联系记录", "matters.promises": "已承诺", "matters.tickets": "未结工单", "matters.noticket": "没有未结工单",
  "matters.problems": "已知问题", "matters.since": "开始于", "matters.contacts": "联系记录", "matters.nocontact": "客户还没有联系过我们",
  "matters.promised": "已承诺：{text}", "matters.due": "期限", "matters.late": "已逾期", "matters.kept": "已完成", "matters.opened": "建立于",
  "matters.close": "解决", "matters.close.title": "解决工单", "matters.close.label": "是怎么解决的？",
  "matters.remark": "备注", "matters.remark.title": "工单备注", "matters.remark.label": "同事需要了解什么？",

  "actions.note": "记录来电", "actions.ticket": "建立工单", "actions.diagnose": "诊断", "actions.diagnose.other": "其他诊断",
  "actions.session": "远程协助",
  "note.title": "记录来电", "note.said": "客户说了什么？", "note.promise": "您承诺了什么？",
  "note.promise.example": "有结果后回电", "note.due": "何时之前？", "note.hours": "{n} 小时内", "note.save": "保存",

  "session.title": "远程协助", "session.asked": "等待客户在收件箱中同意。询问时间：",
  "session.starting": "客户已同意，正在设备上启动……", "session.connecting": "正在连接设备……",
  "session.open": "已连接", "session.lost": "连接中断", "session.closed": "协助已结束",
  "session.direct": "直连", "session.relayed": "中继", "session.cancel": "取消", "session.end": "结束协助", "session.dismiss": "关闭面板",
  "session.stage.consent": "客户同意", "session.stage.connect": "连接", "session.stage.open": "进入家中网络",
  "kind.connection": "整条连接", "kind.ping": "连通性", "kind.dns": "域名解析", "kind.dhcp": "地址分配", "kind.traceroute": "路由路径",
  "kind.interface": "网络接口", "kind.wifi": "无线信号", "kind.speed": "网速",
  "session.diagnose": "检查项目", "session.live": "实时数据（每秒一次）",

  "problem.open": "进行中", "problem.closed": "已结束", "problem.title": "{cohort}", "problem.opened": "建立于", "problem.closedat": "结束于",
  "problem.observed": "故障与来访", "problem.expected": "预期 {n}", "problem.times": "高于预期",
  "problem.devices": "涉及的设备", "problem.homes": "受影响家庭", "problem.told": "已主动告知 {n} 家", "problem.tickets": "关联工单",
  "problem.evidence": "依据", "problem.window": "统计区间", "problem.nohomes": "暂无受影响的家庭", "problem.device": "设备",
  "problem.told.when": "告知时间", "problem.ticket": "工单", "problem.linked": "已关联",
  "problem.chart": "每日故障数与预期对比", "problem.bar": "实际 {observed}，预期 {expected}",
  "problem.legend": "柱：每日实际数量。虚线：按其余设备推算的预期数量。",
  "outages.title": "大范围断网", "outages.where": "范围", "outages.blamed": "归因", "outages.homes": "断网家庭", "outages.from": "开始于", "outages.to": "结束于",
  "outages.everywhere": "所有地区", "outage.open": "进行中", "outage.closed": "已结束", "outage.here": "大范围断网：{blamed}", "outage.since": "{homes} 户断网，始于", "matters.outage": "大范围断网",
  "problems.none": "目前没有批量问题", "problems.none.more": "当某一类设备的故障明显多于整体时，系统会建立一个批量问题。",
  "problems.cohort": "涉及哪些设备", "problems.homes": "家庭", "problems.tickets": "工单",
  "cohort.model": "型号", "cohort.firmware": "固件", "cohort.hardware": "硬件", "cohort.region": "地区", "cohort.isp": "网络运营商",

  "inbox.title": "您的家", "inbox.closed": "这个链接已失效", "inbox.closed.more": "请从应用或邮件中打开最新的链接。",
  "inbox.empty": "一切安好", "inbox.empty.more": "我们在您家中发现或修复问题时，会第一时间在这里告诉您。",
  "inbox.good": "一切运行正常", "inbox.warn": "可以使用，但需要留意", "inbox.bad": "有些地方不太正常",
  "inbox.offline": "有 {n} 台设备离线", "inbox.learning": "正在了解您家的网络",
  "inbox.write": "给我们留言", "inbox.send": "发送", "inbox.unsent": "没有发送成功，请重试。", "inbox.promised": "我们已承诺：{text}",
  "inbox.session": "客服现在可以查看", "inbox.session.more": "您可以随时停止。",
  "consent.yes": "同意", "consent.no": "不同意", "consent.withdraw": "停止", "consent.limits": "客服只能做以上事项，且仅限这一次。回答截止：",
  "consent.what.diagnose": "检查您的网络连接", "consent.what.metrics": "查看网络连接的实时数据",
  "consent.given": "您已同意", "consent.refused": "您没有同意", "consent.withdrawn": "您已停止", "consent.expired": "已结束",
};

export default zhCN;

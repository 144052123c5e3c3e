"""What the demo says to the person who started it, in both languages.  Text only."""

from __future__ import annotations

from simulators.demo_tally import Tally

#: a projection is changed: the highest value of one point in the oldest minute
CHANGE_PROJECTION = (
    "UPDATE rollup SET high=99.5 WHERE (point_no, minute)=(SELECT point_no, minute FROM rollup ORDER BY 2, 1 LIMIT 1)"
)
#: one bit of the signed bytes is changed, in the oldest batch of the data lane
CHANGE_EVIDENCE = (
    "i,e=d.execute('SELECT id,envelope FROM evidence WHERE lane=1 ORDER BY id LIMIT 1').fetchone(); "
    "e=bytearray(e); e[len(e)//2]^=1; d.execute('UPDATE evidence SET envelope=? WHERE id=?',(bytes(e),i))"
)


def one_liner(python: str, database: str, statement: str) -> str:
    """Returns a shell command that changes the demo's database and commits."""
    return f"""{python} -c "import sqlite3; d=sqlite3.connect('{database}'); {statement}; d.commit()\""""


def what_to_try(*, url: str, simulator: str, collector: str, edge_agent: str, python: str, folder: str) -> str:
    """Returns the text that is printed when the page answers.

    Args:
        url: of the page.
        simulator: how the command is called from here, with what it needs to find the demo; so are the others.
        collector: see above.
        edge_agent: see above.
        python: the interpreter.
        folder: the demo's directory.
    """
    database = f"{folder}/collector/evidence.sqlite3"
    config = f"--config {folder}/site.toml"
    projection = one_liner(python, database, f"d.execute('{CHANGE_PROJECTION}')")
    evidence = one_liner(python, database, CHANGE_EVIDENCE)
    return f"""
  {url}

  What to look at on the page / 在页面上看什么:
      gas_leak         gas in well 1: its limits are confirmed by nobody, so its alarms say TRIAL
                       1号井泄漏：限值未经确认，报警带“试运行”标记
      falls_silent     the head of well 2 dies while gas rises: "lost while rising", and silence is never a zero
                       2号井探头在浓度上升时失联：“上升中失联”，静默绝不显示为零
      over_range       "over range" without a number, every limit at once, latched until a named person resets it
                       超量程不显示数值，各级限值同时报警并锁定，须由具名人员复位
      One scenario plays after the other; well 2 has confirmed limits, so its alarms are real ones
      各场景依次播放；2号井限值已确认，其报警为正式报警

  What to try in another terminal, here / 在本目录的另一个终端中试试:

  Cut the link to the broker, wait, restore it: alarms come first, then now, then history
  切断与消息代理的链路，稍候恢复：先补报警，再补当前值，最后补历史
      {simulator} link cut
      {simulator} link restore
  Set what a sensor measures, break it, let it follow the scenario again
  设定传感器测值，令其故障，再恢复跟随场景
      {simulator} set gas-well-1/gas 65
      {simulator} set gas-well-2/gas over_range
      {simulator} set gas-well-2/gas fault
      {simulator} fault water-main dead
      {simulator} fault water-main none
      {simulator} set gas-well-1/gas auto
      {simulator} set gas-well-2/gas auto
  Play one scenario / 播放某个场景 (gas_leak falls_silent over_range flooding_underpass burst_main bridge_crossing calm)
      {simulator} scenario over_range
  See what stands at the gateway, and reset a latched alarm under a name / 查看网关报警，并由具名人员复位
      {edge_agent} alarms {config}
      {edge_agent} alarm reset gas-well-2/gas gas.ch4.adjacent.v1/L2 --by NAME {config}
  Test a head with gas (in another terminal the simulator gives the gas), and what wants a visit
  对探头做通气测试（在另一终端由模拟器给气），以及待巡检清单
      {edge_agent} visit gas-well-2/gas --by NAME --gas 50 {config}
      {simulator} set gas-well-2/gas 50
      {edge_agent} visit --list --all {config}
  Look from the gateway / 在网关侧查看
      {edge_agent} status {config}
      {edge_agent} spool verify {config}
  Prove that nothing was lost or changed / 验证数据无丢失、无篡改
      {collector} verify --data {folder}/collector
  Change a value in the database and verify again / 改动数据库中的一个值后再次验证
      {projection}
  The same with one bit of the signed evidence / 改动签名证据中的一位
      {evidence}
  Run the tests / 运行测试
      make test

  Ctrl-C ends the demo / 按 Ctrl-C 结束演示
"""


def summary(tally: Tally, *, is_verified: bool) -> str:
    """Returns the lines that end a timed demo."""
    causes = ", ".join(f"{cause} {count}" for cause, count in tally.missing.items()) or "none"
    return "\n".join(
        (
            f"readings 读数: expected 应有 {tally.expected}, stored 已存 {tally.stored}, "
            f"missing by cause 缺失: {causes}",
            f"alarms 报警: raised 产生 {tally.alarms_raised}, stored 已存 {tally.alarms_stored}",
            f"duplicates 重复: {tally.duplicates}",
            f"verification 验证: {'passed 通过' if is_verified else 'FAILED 未通过'}",
        )
    )

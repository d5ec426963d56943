"""Every event a trace may hold: the kernel's own, and (later) what the harness sees of the heap."""

from kernel.events import Note, PageFault, SignalDelivered, SyscallExit, TaskExit

Event = SyscallExit | SignalDelivered | TaskExit | PageFault | Note

__all__ = ["Event", "Note", "PageFault", "SignalDelivered", "SyscallExit", "TaskExit"]

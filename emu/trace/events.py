"""Every event a trace may hold: the kernel's own, and (later) what the harness sees of the heap."""

from kernel.events import Note, PageFault, SignalDelivered, SyscallExit, TaskExit, UserCopy, VmaMap, VmaUnmap

Event = SyscallExit | SignalDelivered | TaskExit | PageFault | VmaMap | VmaUnmap | Note

__all__ = ["Event", "Note", "PageFault", "SignalDelivered", "SyscallExit", "TaskExit", "UserCopy", "VmaMap", "VmaUnmap"]

"""Line numbers, and unwinding tables; these are read by pyelftools, which is imported at the first question."""
